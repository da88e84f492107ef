/** What is wrong with the data, or keeps it from coming. Crosses from a data worker to the main thread as its message and file. */
import { HvdError } from '../../errors';

/** Data cannot be read, or does not come; the message names the file or folder. */
export class DataError extends HvdError {
  override readonly code = 'ERR_HVD_DATA';
}
