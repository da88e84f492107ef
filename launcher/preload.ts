/**
 * Loaded by every rank's Node before the user's code: SIGUSR1 and SIGUSR2 are forwarded by tsrun, and without a listener the first opens Node's
 * inspector and the second ends the process. Listeners of signals keep no process alive.
 */
for (const signal of ['SIGUSR1', 'SIGUSR2'] as const) process.on(signal, () => {});
