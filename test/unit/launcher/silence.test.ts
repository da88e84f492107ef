import t from 'tap';
import { BEAT_MS, Silence } from '../../../launcher/silence';

t.test('silence is counted from the last word', async (t) => {
  const silence = new Silence(0);
  t.equal(silence.tick(BEAT_MS), BEAT_MS);
  silence.hear(700);
  t.equal(silence.tick(2 * BEAT_MS), 300);
  t.equal(silence.tick(3 * BEAT_MS), 800);
});

t.test('who was stopped itself begins anew', async (t) => {
  const silence = new Silence(0);
  silence.tick(BEAT_MS);
  t.equal(silence.tick(60_000), 0);
  t.equal(silence.tick(60_000 + BEAT_MS), BEAT_MS);
});
