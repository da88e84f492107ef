/** Causes of a LaunchError beside the system's codes: whose key was refused. */
export const HOST_KEY_REFUSED = 'HOST_KEY_REFUSED';
export const USER_KEY_REFUSED = 'USER_KEY_REFUSED';

/** Why a job is not started. `exitCode`: 2 usage, 3 cannot launch, 4 too few hosts or slots. The message is one line for the user. */
export class LaunchError extends Error {
  /** The command that mends it, where there is one. */
  mend?: string;
  constructor(
    message: string,
    readonly exitCode: 2 | 3 | 4 = 2,
  ) {
    super(message);
    this.name = 'LaunchError';
  }
}
