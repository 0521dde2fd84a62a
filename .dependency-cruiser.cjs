/**
 * Direction of imports. The rooms of src lie in layers; a room imports only rooms of lower layers,
 * never its siblings. `npm run direction` runs these rules and also fails when a file of src or
 * test was not looked at (an empty run is not a green one).
 */

/** From the bottom to the top. Rooms that share a line are siblings and do not know each other. */
const layers = [
  ['util'],
  ['errors'],
  ['change'],
  ['schema'],
  ['config', 'observability', 'decode', 'mask', 'order', 'overlay', 'report'],
  ['source', 'dialect'],
  ['control', 'guard'],
  ['apply', 'rollout', 'drift', 'doctor', 'bootstrap'],
  ['runtime'],
  ['demo'],
  ['cli', 'http'],
  ['main'],
];

/** Packages that one part of src hides from all others. */
const fences = [
  {
    packages: ['pg', 'pg-copy-streams', '@types/pg', '@types/pg-copy-streams'],
    room: 'src/dialect/postgres',
    // The demo's candidate is an application: it connects as any other does, with a driver.
    besides: ['src/demo/candidate.ts'],
  },
  { packages: ['mysql2'], room: 'src/dialect/mysql' },
  { packages: ['kafkajs', 'snappyjs', 'lz4-napi'], room: 'src/source/kafka' },
  { packages: ['avsc'], room: 'src/decode' },
  { packages: ['pino'], room: 'src/observability' },
  { packages: ['commander'], room: 'src/cli' },
];

const rooms = (names) => `^src/(${names.join('|')})(/|\\.ts$)`;
const escaped = (name) => name.replace(/[/.-]/g, '\\$&');

/** Each layer against all above it, and each room against its siblings. */
const layerRules = layers.flatMap((names, index) => {
  const above = layers.slice(index + 1).flat();
  return [
    ...(above.length === 0
      ? []
      : [
          {
            name: `upward-from-${names.join('-')}`,
            comment: 'A lower layer never imports a higher one.',
            severity: 'error',
            from: { path: rooms(names) },
            to: { path: rooms(above) },
          },
        ]),
    ...(names.length === 1
      ? []
      : [
          {
            name: `sideways-in-${names.join('-')}`,
            comment: 'Rooms of one layer do not import each other; they meet in runtime.',
            severity: 'error',
            from: { path: `^src/(${names.join('|')})/` },
            to: { path: `^src/(${names.join('|')})/`, pathNot: '^src/$1/' },
          },
        ]),
  ];
});

const fenceRules = fences.map(({ packages, room, besides = [] }) => ({
  name: `fence-${room.replace(/^src\//, '').replaceAll('/', '-')}`,
  comment: `Only ${[room, ...besides].join(', ')} knows ${packages.join(', ')}.`,
  severity: 'error',
  from: { path: '^src/', pathNot: [`^${room}/`, ...besides.map((file) => `^${escaped(file)}$`)] },
  to: { path: packages.map((name) => `(^|/)node_modules/${escaped(name)}/`) },
}));

module.exports = {
  forbidden: [
    ...layerRules,
    ...fenceRules,
    {
      name: 'unknown-room',
      comment: 'A new room of src needs its place in the layers above.',
      severity: 'error',
      from: {},
      to: { path: '^src/', pathNot: rooms(layers.flat()) },
    },
    {
      name: 'no-cycle',
      comment: 'No cycles, type-only imports included.',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'dialect-is-closed',
      comment:
        'Outside src/dialect only its port is known; who composes the program knows the registry.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/dialect/' },
      to: {
        path: '^src/dialect/',
        pathNot:
          '^src/dialect/(dialect|backup|copying|evolving|migrating|sharing|dead-letters|waiting|possibly-ours|topic-ledger|rollout-ground|capabilities|registry|embedded)\\.ts$',
      },
    },
    {
      name: 'registry-only-in-composition',
      comment:
        'Which dialect it is, and whether we start its server, the composition root decides.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/(dialect|runtime|demo|cli)/' },
      to: { path: '^src/dialect/(registry|embedded)\\.ts$' },
    },
    {
      name: 'dialects-are-strangers',
      comment: 'dialect/X never imports dialect/Y.',
      severity: 'error',
      from: { path: '^src/dialect/([^/]+)/' },
      to: { path: '^src/dialect/[^/]+/', pathNot: '^src/dialect/($1|sql)/' },
    },
    {
      name: 'source-is-closed',
      comment: 'Kafka and recording are chosen by the composition root; others see the port.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/(source|runtime|demo|cli)/' },
      to: { path: '^src/source/(kafka|recording)/' },
    },
    {
      name: 'src-never-imports-test',
      comment: 'What the product needs lies in src.',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^test/' },
    },
    {
      name: 'src-never-imports-dev-packages',
      comment: 'A package that src needs at run time is a dependency, not a development one.',
      severity: 'error',
      from: { path: '^src/' },
      to: { dependencyTypes: ['npm-dev'], dependencyTypesNot: ['type-only'], pathNot: '/@types/' },
    },
    {
      name: 'no-unlisted-package',
      comment: 'Every imported package stands in package.json.',
      severity: 'error',
      from: {},
      to: { dependencyTypes: ['npm-no-pkg', 'npm-unknown'] },
    },
    {
      name: 'resolvable',
      comment: 'Every import leads somewhere.',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
    {
      name: 'no-orphan',
      comment: 'A file nobody imports and that imports nobody is forgotten.',
      severity: 'error',
      from: { orphan: true, path: '^src/', pathNot: '(^src/main|\\.d)\\.ts$' },
      to: {},
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    // Type-only imports count for direction and cycles; without this they would be invisible.
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
      mainFields: ['module', 'main', 'types'],
    },
    combinedDependencies: false,
    exclude: { path: '^test/fixtures/' },
  },
};
