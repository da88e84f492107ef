/** How texts name many ranks without becoming long. Pure. */
const mostShown = 8;

/** "a", "a and b", "a, b and 7 more". */
export function listed(words: readonly (string | number)[], most = mostShown): string {
  const shown = words.length > most ? [...words.slice(0, most), `${words.length - most} more`] : words;
  return shown.length < 2 ? shown.join('') : `${shown.slice(0, -1).join(', ')} and ${shown.at(-1)}`;
}

/** "rank 0, 1 and 2 (host a and b)". */
export function ranksAndHosts(ranks: readonly number[], hostOf: (rank: number) => string): string {
  return `rank ${listed(ranks)} (host ${listed([...new Set(ranks.map(hostOf))])})`;
}
