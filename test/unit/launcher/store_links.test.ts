import t from 'tap';
import { StoreLinks } from '../../../launcher/store_links';
import { StoreServer } from '../../../src/rendezvous/server';
import { encodeFrame, FrameParser } from '../../../src/wire/frame';
import { khorovod } from '../../../src/wire/generated/messages';

const request = (message: khorovod.StoreRequest.$Properties): Buffer => encodeFrame(khorovod.StoreRequest.encode(message).finish());
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

t.test('connections that an agent passes on are clients of the store; what is closed stays closed', async (t) => {
  const store = new StoreServer();
  const sent: khorovod.StoreBytes.$Properties[] = [];
  const links = new StoreLinks(store, (bytes) => sent.push(bytes));
  links.take({ link: 1, data: request({ id: 5, get: { key: 'k' } }) });
  links.take({ link: 2, data: request({ id: 6, set: { key: 'k', value: Buffer.from('v') } }) });
  await turn();
  const replies = sent.map(({ link, data }) => {
    const [frame] = new FrameParser(1000).push(data!);
    return [link, khorovod.StoreReply.decode(frame!).id];
  });
  t.same(replies.sort(), [
    [1, 5],
    [2, 6],
  ]);
  sent.length = 0;
  links.take({ link: 2, data: Buffer.alloc(8, 255) });
  await turn();
  t.same(sent, [{ link: 2, end: true }], 'bytes that are no request close that connection');
  links.take({ link: 2, data: Buffer.alloc(8, 255), end: true });
  await turn();
  t.equal(sent.length, 1, 'what comes after that is nobody’s');
  links.take({ link: 1, end: true });
  links.close();
  await store.close();
});
