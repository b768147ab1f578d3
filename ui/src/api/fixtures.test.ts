import { expect, test } from 'vitest'
import type { paths } from '../../generated/schema'
import type { Schemas } from './client'
import check from '../../fixtures/assignments_check.json'
import cluster from '../../fixtures/cluster.json'
import events from '../../fixtures/events.json'
import instance from '../../fixtures/instance.json'
import instances from '../../fixtures/instances.json'
import keyWritten from '../../fixtures/key_written.json'
import keys from '../../fixtures/keys.json'
import node from '../../fixtures/node.json'
import nodes from '../../fixtures/nodes.json'
import operation from '../../fixtures/operation.json'
import operations from '../../fixtures/operations.json'
import plan from '../../fixtures/plan.json'
import invalid from '../../fixtures/problem_invalid.json'
import notFound from '../../fixtures/problem_not_found.json'
import revision from '../../fixtures/problem_revision.json'
import revisions from '../../fixtures/revisions.json'
import runner from '../../fixtures/runner.json'
import runners from '../../fixtures/runners.json'
import self from '../../fixtures/self.json'
import series from '../../fixtures/series.json'
import settings from '../../fixtures/settings.json'
import source from '../../fixtures/source.json'
import sources from '../../fixtures/sources.json'
import tags from '../../fixtures/tags.json'
import tapped from '../../fixtures/tapped.json'
import tried from '../../fixtures/tried.json'
import written from '../../fixtures/written.json'

/** What a call answers, as the committed description says. */
type Answer<P extends keyof paths> = paths[P] extends { get: { responses: { 200: { content: { 'application/json': infer A } } } } } ? A : never

/** The same with every literal as wide as TypeScript reads it from a file. */
type Read<T> = T extends Record<string, never> ? object : T extends string ? string : T extends number ? number : T extends boolean ? boolean : T extends object ? { [K in keyof T]: Read<T[K]> } : T

// Golden JSON is what the code answers (src/api/tests/fixtures.rs), the types are what the description says: `npm run check` holds them together.
const answers = [
  check satisfies Read<Answer<'/v1/assignments/check'>>,
  cluster satisfies Read<Answer<'/v1/cluster'>>,
  events satisfies Read<Answer<'/v1/events'>>,
  instance satisfies Read<Answer<'/v1/instances/{node}/{runner}'>>,
  instances satisfies Read<Answer<'/v1/instances'>>,
  keyWritten satisfies Read<Schemas['KeyChange']>,
  keys satisfies Read<Answer<'/v1/keys'>>,
  node satisfies Read<Answer<'/v1/nodes/{node}'>>,
  nodes satisfies Read<Answer<'/v1/nodes'>>,
  operation satisfies Read<Answer<'/v1/operations/{operation}'>>,
  operations satisfies Read<Answer<'/v1/operations'>>,
  plan satisfies Read<Schemas['PlanView']>,
  invalid satisfies Read<Schemas['Problem']>,
  notFound satisfies Read<Schemas['Problem']>,
  revision satisfies Read<Schemas['Problem']>,
  revisions satisfies Read<Answer<'/v1/runners/{runner}/revisions'>>,
  runner satisfies Read<Answer<'/v1/runners/{runner}'>>,
  runners satisfies Read<Answer<'/v1/runners'>>,
  self satisfies Read<Answer<'/v1/self'>>,
  series satisfies Read<Answer<'/v1/series'>>,
  settings satisfies Read<Answer<'/v1/settings'>>,
  source satisfies Read<Answer<'/v1/sources/{runner}/{source}'>>,
  sources satisfies Read<Answer<'/v1/sources'>>,
  tags satisfies Read<Answer<'/v1/tags'>>,
  tried satisfies Read<Schemas['Tried']>,
  written satisfies Read<Schemas['Written']>,
]

test('each answer shows something of its kind', () => {
  for (const answer of answers) {
    if ('items' in answer && answer !== check) expect(answer.items.length, JSON.stringify(answer)).toBeGreaterThan(0)
  }
})

test('a tap tells records, what had no room, and who does not answer', () => {
  const [record, cut, skipped, trouble] = tapped.told.map((told) => told.data)
  expect(tapped.told.map((told) => told.event)).toEqual(['record', 'record', 'skipped', 'trouble'])
  expect([record, cut].map((row) => (row as Schemas['TapRow']).cut)).toEqual([false, true])
  expect([skipped, trouble].map((word) => (word as Schemas['TapWord']).node_name)).toEqual(['n1', 'n2'])
})
