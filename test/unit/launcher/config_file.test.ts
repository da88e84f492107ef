import t from 'tap';
import { readConfigFile } from '../../../launcher/config_file';

const texts = (yaml: string) =>
  Object.fromEntries([...readConfigFile('f.yaml', yaml).given].map(([option, values]) => [option.name, values]));

t.test('Horovod’s keys are the options of that meaning', async (t) => {
  t.same(
    texts(
      'params:\n  fusion_threshold_mb: 32\n  hierarchical_allreduce: true\nautotune:\n  enabled: true\n  log_file: a.csv\ntimeline:\n  filename: t.json\n  mark_cycles: false\nstall_check:\n  enabled: false\n  warning_time_seconds: 7\nlogging:\n  level: INFO\n  with_timestamp: false\n',
    ),
    {
      'fusion-threshold-mb': ['32'],
      'hierarchical-allreduce': ['true'],
      autotune: ['true'],
      'autotune-log-file': ['a.csv'],
      'timeline-filename': ['t.json'],
      'timeline-mark-cycles': ['false'],
      'stall-check': ['false'],
      'stall-check-warning-time-seconds': ['7'],
      'log-level': ['INFO'],
      'log-with-timestamp': ['false'],
    },
  );
});

t.test('every other option goes by its own name, with - or _', async (t) => {
  t.same(texts('np: 4\nhosts: h1,h2\npeer_timeout: 3\nkeep-going: true\nx:\n  - A=1\n  - B\n'), {
    np: ['4'],
    hosts: ['h1,h2'],
    'peer-timeout': ['3'],
    'keep-going': ['true'],
    x: ['A=1', 'B'],
  });
});

t.test('an empty file and empty keys give nothing', async (t) => {
  t.same(texts(''), {});
  t.same(texts('# nothing\nparams:\ntimeline:\n  filename:\n'), {});
});

t.test('Horovod’s keys without meaning here are told apart from unknown ones', async (t) => {
  t.same(readConfigFile('f', 'controller: gloo\nlibrary_options:\n  num_nccl_streams: 2\n').meaningless, [
    "'controller' of the config file",
    "'library_options.num_nccl_streams' of the config file",
  ]);
  t.throws(() => readConfigFile('f.yaml', 'params:\n  cycle_tim_ms: 1\n'), { message: /f\.yaml.*'params\.cycle_tim_ms'/ });
  t.throws(() => readConfigFile('f.yaml', 'config-file: other\n'), /no option 'config-file'/);
});

t.test('what is no YAML, or no options, is refused', async (t) => {
  t.throws(() => readConfigFile('f.yaml', 'params: [1, 2\nfoo: "bar\n'), /f\.yaml is no YAML/);
  t.throws(() => readConfigFile('f.yaml', '- a\n- b\n'), /options were expected/);
  t.throws(() => readConfigFile('f.yaml', 'just words\n'), /options were expected/);
});
