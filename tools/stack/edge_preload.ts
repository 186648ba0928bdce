// Runs before a function's own module, in its process: what hosted functions find there.

// Hosted processes end some time after their answer; here they go on, so there is nothing to hold back.
Object.defineProperty(globalThis, "EdgeRuntime", {
  value: { waitUntil: (promise: Promise<unknown>) => promise },
  configurable: true,
});
