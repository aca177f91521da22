//! What is measured: a stage, and on it a run of many operations of one kind.

use std::fmt;

/// Where a case plays. What `prepare` does is not measured.
pub(crate) trait Stage {
    /// Makes ready for the next run.
    fn prepare(&mut self) {}

    /// What is measured.
    fn run(&mut self);
}

/// A stage without preparation.
impl<F: FnMut()> Stage for F {
    fn run(&mut self) {
        self();
    }
}

/// One step of the hot path.
pub(crate) struct Case {
    /// The module and the step.
    pub(crate) name: &'static str,
    /// Operations in one run.
    pub(crate) operations: usize,
    open: Box<dyn Fn() -> Box<dyn Stage> + Send + Sync>,
}

impl Case {
    /// A case whose runs are of so many operations, on a stage that `open` sets.
    pub(crate) fn new<S: Stage + 'static>(
        name: &'static str,
        operations: usize,
        open: impl Fn() -> S + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            operations,
            open: Box::new(move || Box::new(open())),
        }
    }

    /// Sets the stage.
    pub(crate) fn stage(&self) -> Box<dyn Stage> {
        (self.open)()
    }
}

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)
    }
}
