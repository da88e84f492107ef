// Checks the links of every Markdown file of the project, and of docs/api where `npm run docs` has made it: the file is there, and the heading or id behind the #. Of links to elsewhere only the syntax.
// Exit 1 names each link that leads nowhere. `check_links.mjs FOLDER` looks at another folder.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(process.argv[2] ?? path.dirname(path.dirname(fileURLToPath(import.meta.url))));
const skipped = new Set(['node_modules', 'dist', 'results', 'assets']);
const isPage = (name) => /\.(md|html)$/.test(name);

function pagesIn(folder) {
  return fs.readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const file = path.join(folder, entry.name);
    if (entry.isDirectory()) return skipped.has(entry.name) || entry.name.startsWith('.') ? [] : pagesIn(file);
    return entry.isFile() && isPage(entry.name) ? [file] : [];
  });
}

/** Lines of fenced code made empty, so that line numbers stay. */
function withoutFences(text) {
  let fence = '';
  return text.split('\n').map((line) => {
    const mark = /^\s*(`{3,}|~{3,})/.exec(line)?.[1];
    if (fence) {
      if (mark?.startsWith(fence)) fence = '';
      return '';
    }
    fence = mark ?? '';
    return fence ? '' : line;
  });
}
const withoutCode = (line) => line.replace(/(`+)(?!`).*?[^`]\1(?!`)/g, (code) => ' '.repeat(code.length));

/** A heading as GitHub makes an anchor of it. */
const slugOf = (title) =>
  title
    .replace(/!?\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replace(/<[^>]+>/g, '')
    .trim()
    .toLowerCase()
    .replace(/[^\p{L}\p{M}\p{N}\p{Pc}\- ]/gu, '')
    .replaceAll(' ', '-');

function anchorsOfMarkdown(text) {
  const anchors = new Set();
  const seen = new Map();
  for (const line of withoutFences(text)) {
    for (const [, id] of line.matchAll(/<a (?:id|name)="([^"]+)"/g)) anchors.add(id);
    const title = /^ {0,3}#{1,6}\s+(.*?)\s*#*$/.exec(line)?.[1];
    if (title === undefined) continue;
    const slug = slugOf(title);
    const count = seen.get(slug) ?? 0;
    seen.set(slug, count + 1);
    anchors.add(count === 0 ? slug : `${slug}-${count}`);
  }
  return anchors;
}

/** {line, target} of every link. */
function linksOfMarkdown(text) {
  return withoutFences(text).flatMap((raw, i) => {
    const line = withoutCode(raw);
    const inline = [...line.matchAll(/\]\(\s*(?:<([^>]*)>|([^\s()]*(?:\([^\s()]*\)[^\s()]*)*))(?:\s+(?:"[^"]*"|'[^']*'))?\s*\)/g)];
    const defined = [...line.matchAll(/^ {0,3}\[[^\]]+\]:\s*<?([^\s>]+)>?/g)];
    const automatic = [...line.matchAll(/<([a-z][a-z0-9+.-]*:[^\s>]*)>/gi)];
    const attributes = [...line.matchAll(/<(?:a|img)\b[^>]*?\b(?:href|src)="([^"]*)"/gi)];
    const found = [...inline.map((match) => match[1] ?? match[2]), ...[...defined, ...automatic, ...attributes].map((match) => match[1])];
    return found.map((target) => ({ line: i + 1, target }));
  });
}
const unescaped = (text) => text.replaceAll('&amp;', '&').replaceAll('&quot;', '"').replaceAll('&#39;', "'");
const linksOfHtml = (text) =>
  [...text.matchAll(/<(?:a|img|link|script)\b[^>]*?\s(?:href|src)="([^"]*)"/g)].map((match) => ({ line: 1, target: unescaped(match[1]) }));
const anchorsOfHtml = (text) => new Set([...text.matchAll(/\s(?:id|name)="([^"]*)"/g)].map((match) => unescaped(match[1])));

const anchorsOf = new Map();
function anchors(file) {
  if (!anchorsOf.has(file)) {
    const text = fs.readFileSync(file, 'utf8');
    anchorsOf.set(file, file.endsWith('.md') ? anchorsOfMarkdown(text) : anchorsOfHtml(text));
  }
  return anchorsOf.get(file);
}

/** Why the link leads nowhere; undefined: it does not. */
function problem(from, target) {
  // In HTML an empty one is the page itself.
  if (target === '') return from.endsWith('.md') ? 'it is empty' : undefined;
  if (/^[a-z][a-z0-9+.-]*:/i.test(target) || target.startsWith('//')) {
    const url = URL.canParse(target) ? new URL(target) : undefined;
    if (!url) return 'it is no URL';
    if (url.protocol === 'mailto:') return /^[^@\s]+@[^@\s]+$/.test(url.pathname) ? undefined : 'it is no address';
    return ['http:', 'https:'].includes(url.protocol) ? undefined : `${url.protocol} is neither https, http nor mailto`;
  }
  const hash = target.indexOf('#');
  const [name, anchor] = hash < 0 ? [target, ''] : [target.slice(0, hash), target.slice(hash + 1)];
  let file = from;
  try {
    if (name !== '') file = path.resolve(path.dirname(from), decodeURIComponent(name.replace(/\?.*$/, '')));
    if (path.relative(root, file).startsWith('..')) return 'it leaves the project';
    if (!fs.existsSync(file)) return `there is no ${path.relative(root, file)}`;
    if (anchor === '' || !isPage(file)) return undefined;
    return anchors(file).has(decodeURIComponent(anchor)) ? undefined : `${path.relative(root, file)} has no heading #${anchor}`;
  } catch (error) {
    return error.message;
  }
}

const pages = pagesIn(root);
let [count, wrong] = [0, 0];
for (const page of pages) {
  const text = fs.readFileSync(page, 'utf8');
  for (const { line, target } of page.endsWith('.md') ? linksOfMarkdown(text) : linksOfHtml(text)) {
    count += 1;
    const why = problem(page, target);
    if (why === undefined) continue;
    wrong += 1;
    console.error(`${path.relative(root, page)}${page.endsWith('.md') ? `:${line}` : ''}: (${target}) ${why}`);
  }
}
if (wrong > 0) {
  console.error(`${wrong} of ${count} links lead nowhere`);
  process.exit(1);
}
console.log(`${count} links in ${pages.length} pages lead somewhere`);
