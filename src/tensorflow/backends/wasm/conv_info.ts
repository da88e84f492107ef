/** The geometry of a convolution whose gradient is asked for. Pure. NHWC. */
import { BackendError } from '../../../errors';
import type { Tf } from '../../load';
import type { KernelCall } from './kernel';

export type ConvInfo = ReturnType<Tf['backend_util']['computeConv2DInfo']>;

/** The places of dy are its own: the gradient of a convolution whose output was rounded up ('ceil') is asked for without saying so. */
export function infoOf(tfjs: Tf, inShape: number[], filterShape: number[], dyShape: number[], attrs: KernelCall['attrs']): ConvInfo {
  const { backend_util: util } = tfjs;
  const format = util.convertConv2DDataFormat(attrs.dataFormat);
  if (format !== 'channelsLast')
    throw new BackendError("The wasm backend convolves NHWC only, but a gradient was asked for with dataFormat 'NCHW'. Transpose first.");
  const { strides, pad, dimRoundingMode } = attrs;
  const info = util.computeConv2DInfo(inShape as never, filterShape as never, strides, 1, pad, dimRoundingMode, false, format);
  return { ...info, outHeight: dyShape[1]!, outWidth: dyShape[2]! };
}
