/** Why a job is not started. `exitCode`: 2 usage, 3 cannot launch, 4 too few hosts or slots. The message is one line for the user. */
export class LaunchError extends Error {
  constructor(
    message: string,
    readonly exitCode: 2 | 3 | 4 = 2,
  ) {
    super(message);
    this.name = 'LaunchError';
  }
}
