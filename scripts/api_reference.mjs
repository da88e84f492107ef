// Makes the API reference, docs/api, from the docstrings of what src/index.ts exports: `npm run docs`. Exit 1 when a name has no docstring, refers to what is not there or not exported, or is a function that does not say
// what it throws (`@throws …`, or "Throws nothing").
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Application, Converter, ReflectionKind } from 'typedoc';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const out = path.join(root, 'docs/api');

const app = await Application.bootstrap({
  entryPoints: [path.join(root, 'src/index.ts')],
  tsconfig: path.join(root, 'tsconfig.json'),
  out,
  name: 'khorovod',
  readme: 'none',
  includeVersion: true,
  disableSources: true,
  hideGenerator: true,
  githubPages: false,
  validation: { invalidLink: true, notExported: true, notDocumented: true, rewrittenLink: true },
  treatWarningsAsErrors: true,
  treatValidationWarningsAsErrors: true,
});

/** `hvd.callbacks` and `hvd.train` are objects of functions: shown as functions, with these functions' own docstrings. */
app.converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
  for (const member of project.getReflectionsByKind(ReflectionKind.Variable)) {
    const signatures = member.parent?.kindOf(ReflectionKind.Namespace) && member.type?.declaration?.signatures;
    if (!signatures) continue;
    member.kind = ReflectionKind.Function;
    member.signatures = signatures;
    member.type = undefined;
    for (const signature of signatures) {
      signature.name = member.name;
      signature.parent = member;
    }
  }
});

const saysWhatItThrows = ({ comment }) =>
  comment?.blockTags.some(({ tag }) => tag === '@throws') ||
  /throws nothing/i.test(comment?.summary.map(({ text }) => text).join('') ?? '');

const project = await app.convert();
if (!project) process.exit(1);
app.validate(project);
for (const one of project.getReflectionsByKind(ReflectionKind.FunctionOrMethod)) {
  // What somebody else implements (an interface's method) says nothing of errors.
  if (one.inheritedFrom || one.parent.kindOf(ReflectionKind.Interface) || one.signatures.some(saysWhatItThrows)) continue;
  app.logger.error(`${one.getFullName()} does not say what it throws: add @throws with each error and when, or "Throws nothing"`);
}
if (app.logger.hasErrors() || app.logger.hasWarnings()) process.exit(1);
await app.generateOutputs(project);
console.log(`${path.relative(root, out)}: ${project.children.length} names`);
