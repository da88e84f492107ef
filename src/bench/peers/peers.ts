/** Every library that khorovod can be compared with, by name. */
import { glooCpp, torchGloo } from './gloo';
import { openMpiDefault, openMpiTcp } from './openmpi';
import type { Peer, PeerName } from './peer';

export const peers: Readonly<Record<PeerName, Peer>> = {
  gloo: torchGloo,
  'gloo-cpp': glooCpp,
  openmpi: openMpiDefault,
  'openmpi-tcp': openMpiTcp,
};
