/** As test/slow/memory: 2,000 steps on the backends that a checkout lacks. */
import t from 'tap';
import { makeProject, type Project, trySelect } from '../helpers/backend_project';
import { holds, train } from '../helpers/memory_growth';

/** Why there is nothing to test, else the project. */
function prepare(backend: 'webgpu' | 'tfjs-node'): Project | string {
  const project = makeProject(backend);
  const out = typeof project === 'string' ? project : trySelect(project, backend).out;
  return typeof project !== 'string' && !out.startsWith('ERR_') ? project : out;
}
for (const [backend, steps] of [
  ['tfjs-node', [1000, 1200, 1400, 2600, 2800, 3000]],
  ['webgpu', [200, 400, 600, 1800, 2000, 2200]],
] as const) {
  const project = prepare(backend);
  // That tfjs-node can be installed is a test of its own: scripts/install_tfjs_node_ci.mjs.
  const skip = typeof project === 'string' && project;
  t.test(backend, { skip, timeout: 0 }, async (t) => {
    const { program, env } = project as Project;
    holds(t, train(backend, 'small', steps, program('workers/counts_memory'), env));
  });
}
