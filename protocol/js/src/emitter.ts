// Events with typed arguments, in the fewest lines.

export interface Emitter<Events> {
  /** Calls `listener` for each event of this name, until the returned function is called. */
  on<Name extends keyof Events>(name: Name, listener: (detail: Events[Name]) => void): () => void;
  /** Tells all who listen; false if nobody does. */
  emit<Name extends keyof Events>(name: Name, detail: Events[Name]): boolean;
}

export function createEmitter<Events>(): Emitter<Events> {
  const entries = new Set<[keyof Events, (detail: any) => void]>();
  return {
    on(name, listener) {
      const entry: [keyof Events, (detail: any) => void] = [name, listener];
      entries.add(entry);
      return () => entries.delete(entry);
    },
    emit(name, detail) {
      const heard = [...entries].filter(([heardName]) => heardName === name);
      for (const [, listener] of heard) guarded(listener, detail);
      return heard.length > 0;
    },
  };
}

/** Calls code of the application: what it throws is reported as uncaught, and disturbs nothing here. */
export function guarded<T>(call: (detail: T) => void, detail: T): void {
  try {
    call(detail);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
