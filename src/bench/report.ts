/**
 * A report as one HTML file that needs nothing beside it: its figures and its style stand in it, and it runs no script. Pure.
 *
 * Everything that is given is text and is escaped, but figures: those are SVG documents of plots.ts. Follows the reader's light or dark theme; on paper it is light.
 */
export interface Figure {
  /** What is to be seen, for those who do not see it. */
  readonly label: string;
  readonly light: string;
  readonly dark: string;
  /** It takes the whole width of the page. */
  readonly isWide?: boolean;
  /** Beneath it. */
  readonly note?: string;
}

export interface Table {
  readonly heads: readonly string[];
  readonly rows: ReadonlyArray<readonly string[]>;
  /** Columns, from 0, that are numbers: to the right. */
  readonly numeric?: readonly number[];
  /** Rows, from 0, to be seen at once. */
  readonly marked?: readonly number[];
}

export interface Section {
  readonly heading: string;
  readonly text?: string;
  readonly figures?: readonly Figure[];
  readonly table?: Table;
  readonly facts?: ReadonlyArray<readonly [string, string]>;
  /** As it is typed. */
  readonly code?: string;
}

export interface Report {
  readonly title: string;
  readonly subtitle: string;
  /** Said before all else: the report is not of a whole sweep, say. */
  readonly warnings: readonly string[];
  /** The few numbers that matter most. */
  readonly cards: ReadonlyArray<{ readonly value: string; readonly label: string }>;
  readonly sections: readonly Section[];
  readonly footer: string;
}

const STYLE = `
:root{color-scheme:light dark;--paper:#f5f6f8;--card:#fff;--ink:#1d2433;--soft:#5b6475;--line:#e1e4ea;--accent:#0072b2;--warn:#9a3b00;--warnpaper:#fff3e8;--code:#f1f3f6}
@media (prefers-color-scheme:dark){:root{--paper:#0f1218;--card:#171b23;--ink:#e8ebf1;--soft:#a3abba;--line:#2b313d;--accent:#4fb3f0;--warn:#ffb27d;--warnpaper:#2c1f14;--code:#1f242e}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,Helvetica,Arial,"DejaVu Sans",sans-serif}
main{max-width:1240px;margin:0 auto;padding:40px 28px 56px}
h1{font-size:28px;line-height:1.25;margin:0 0 4px;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:18px;margin:36px 0 12px}
p{margin:0 0 12px;color:var(--soft);max-width:90ch}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(190px,1fr));gap:14px;margin:24px 0 8px}
.card,figure,.table,.facts,pre{background:var(--card);border:1px solid var(--line);border-radius:10px}
.card{padding:16px 18px}
.card b{display:block;font-size:24px;line-height:1.25;font-variant-numeric:tabular-nums;color:var(--accent)}
.card span{color:var(--soft);font-size:13px}
.warning{background:var(--warnpaper);color:var(--warn);border-radius:10px;padding:10px 16px;margin:12px 0}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(480px,100%),1fr));gap:16px}
figure{margin:0;padding:6px;overflow:hidden}
figure svg{display:block;max-width:100%;height:auto;margin:0 auto}
figure.wide{grid-column:1/-1}
figcaption{color:var(--soft);font-size:13px;padding:2px 14px 12px}
.dark{display:none}
@media (prefers-color-scheme:dark){.dark{display:block}.light{display:none}}
.table{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:8px 14px;text-align:left;border-bottom:1px solid var(--line);vertical-align:top}
th{font-size:12.5px;font-weight:600;color:var(--soft);white-space:nowrap}
tr:last-child td{border-bottom:0}
td.n,th.n{text-align:right;white-space:nowrap}
tr.marked td{color:var(--warn)}
td{overflow-wrap:anywhere;min-width:6em}
td.n{min-width:0}
.facts{display:grid;grid-template-columns:max-content 1fr;gap:0 24px;margin:0;padding:10px 18px}
.facts dt{color:var(--soft);padding:4px 0}
.facts dd{margin:0;padding:4px 0;overflow-wrap:anywhere}
pre{background:var(--code);padding:14px 18px;margin:0;white-space:pre-wrap;overflow-wrap:anywhere;font:13px/1.5 ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace}
footer{margin-top:40px;color:var(--soft);font-size:13px}
@media print{:root{--paper:#fff;--card:#fff;--ink:#000;--soft:#444;--line:#ccc;--accent:#0072b2;--warn:#9a3b00;--warnpaper:#fff;--code:#fff}.dark{display:none}.light{display:block}figure,.card,tr{break-inside:avoid}}
`;

export function htmlReport({ title, subtitle, warnings, cards, sections, footer }: Report): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<header>
<h1>${escaped(title)}</h1>
<p>${escaped(subtitle)}</p>
</header>
${warnings.map((text) => `<div class="warning">${escaped(text)}</div>`).join('\n')}
${cards.length > 0 ? `<div class="cards">${cards.map(({ value, label }) => `<div class="card"><b>${escaped(value)}</b><span>${escaped(label)}</span></div>`).join('')}</div>` : ''}
${sections.map(sectionOf).join('\n')}
<footer>${escaped(footer)}</footer>
</main>
</body>
</html>
`;
}

function sectionOf({ heading, text, figures, table, facts, code }: Section): string {
  const parts = [
    `<h2>${escaped(heading)}</h2>`,
    text === undefined ? '' : `<p>${escaped(text)}</p>`,
    figures === undefined ? '' : `<div class="figures">${figures.map(figureOf).join('\n')}</div>`,
    table === undefined ? '' : tableOf(table),
    facts === undefined
      ? ''
      : `<dl class="facts">${facts.map(([name, value]) => `<dt>${escaped(name)}</dt><dd>${escaped(value)}</dd>`).join('')}</dl>`,
    code === undefined ? '' : `<pre>${escaped(code)}</pre>`,
  ];
  return `<section>\n${parts.filter((part) => part !== '').join('\n')}\n</section>`;
}

function figureOf({ label, light, dark, isWide, note }: Figure): string {
  const themed = (svg: string, theme: string): string => `<div class="${theme}" role="img" aria-label="${escaped(label)}">${svg}</div>`;
  return `<figure${isWide ? ' class="wide"' : ''}>${themed(light, 'light')}${themed(dark, 'dark')}${note === undefined ? '' : `<figcaption>${escaped(note)}</figcaption>`}</figure>`;
}

function tableOf({ heads, rows, numeric = [], marked = [] }: Table): string {
  const cell = (tag: string, text: string, column: number): string =>
    `<${tag}${numeric.includes(column) ? ' class="n"' : ''}>${escaped(text)}</${tag}>`;
  const line = (tag: string, cells: readonly string[], row = -1): string =>
    `<tr${marked.includes(row) ? ' class="marked"' : ''}>${cells.map((text, column) => cell(tag, text, column)).join('')}</tr>`;
  return `<div class="table"><table><thead>${line('th', heads)}</thead><tbody>\n${rows.map((cells, row) => line('td', cells, row)).join('\n')}\n</tbody></table></div>`;
}

function escaped(text: string): string {
  const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
  return text.replace(/[&<>"']/g, (character) => entities[character]!);
}
