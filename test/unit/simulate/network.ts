/** A network without processor costs, on which closed forms hold. */
import type { NetworkSpec } from '../../../src/simulate/network';

const noCosts = { message: 0, sendByte: 0, receiveByte: 0, reduceByte: 0, applyByte: 0, request: 0, copyByte: 0, updateByte: 0 };

export const idealNetwork: NetworkSpec = {
  rate: 1e9,
  latency: 0,
  ranksPerHost: 1,
  localRate: 1e12,
  cores: 64,
  hostsPerMachine: 1,
  socketBytes: 4 << 20,
  costs: noCosts,
};
/** All that costs something. */
export const costlyNetwork: NetworkSpec = {
  ...idealNetwork,
  latency: 20e-6,
  localRate: 2e10,
  cores: 4,
  costs: {
    message: 25e-6,
    sendByte: 2e-10,
    receiveByte: 2e-10,
    reduceByte: 1e-10,
    applyByte: 2e-10,
    request: 1e-5,
    copyByte: 1e-10,
    updateByte: 2e-11,
  },
};
