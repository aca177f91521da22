// What the page or process around us knows about the network and about being used. Where it knows nothing, nothing
// is told.

interface Target {
  addEventListener?(name: string, listener: () => void, options: { signal: AbortSignal }): void;
}

/**
 * Listens until `signal` says so. `wake`: the network is said to have come or gone, or somebody looks at the page: a good
 * moment to connect, or to see whether we still are. `hide`: the page may never run again.
 */
export function watchEnvironment(wake: () => void, hide: () => void, signal: AbortSignal): void {
  const scope = globalThis as Target & { document?: Target & { hidden: boolean } };
  const { document } = scope;
  const listen = (target: Target | undefined, name: string, listener: () => void): void =>
    target?.addEventListener?.(name, listener, { signal });
  listen(scope, "online", wake);
  listen(scope, "offline", wake);
  listen(document, "visibilitychange", () => (document!.hidden ? hide() : wake()));
}
