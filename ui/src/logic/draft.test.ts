import { expect, test } from 'vitest'
import type { RunnerSpec } from '../api/client'
import { draftOf, emptyDraft, specOf, tryable } from './draft'

const fleet: RunnerSpec = {
  name: 'fleet',
  placement: { spread: 'collectors' },
  reader: { type: 'http' },
  sources: [{ id: 'web-1', url: 'http://10.0.0.1/log' }],
  parse: { type: 'nginx' },
  transform: { vrl: '.env = "prod"' },
  senders: [{ type: 'file', name: 'out', path: '/tmp/{node}.ndjson' }],
}

test('what the fields say of a spec is that spec again', () => {
  const draft = draftOf(fleet)
  expect(draft).not.toBeNull()
  expect(specOf(draft!)).toEqual({ spec: { ...fleet, reader: { type: 'http', start_at: 'beginning' } }, faults: [] })
})

test("the defaults that a node fills in are not taken for somebody's words", () => {
  const filled: RunnerSpec = { ...fleet, reader: { type: 'http', start_at: 'beginning', poll_ms: 500, line_bytes_max: 1048576, headers: {} } }
  expect(draftOf(filled)).not.toBeNull()
})

test('a spec that the fields cannot say is left to the raw form', () => {
  expect(draftOf({ ...fleet, reader: { type: 'http', poll_ms: 250 } })).toBeNull()
  expect(draftOf({ ...fleet, sources: [{ id: 'web-1', url: 'http://a/', selection: 'zone-a' }] })).toBeNull()
})

test('an empty form says which fields are needed, by the same pointers as the API', () => {
  expect(specOf(emptyDraft()).faults.map((fault) => fault.at)).toEqual(['/name', '/reader/paths', '/senders/0/path', '/placement'])
})

test('a line that is no source is told by its number', () => {
  const { spec, faults } = specOf({ ...emptyDraft('web'), name: 'a', reader: 'http', sources: 'ok http://a/\n\nBad http://b/\nlonely' })
  expect(spec.sources).toEqual([{ id: 'ok', url: 'http://a/' }])
  expect(faults.filter((fault) => fault.at === '/sources').map((fault) => fault.values.n)).toEqual([3, 4])
})

test('a runner can be tried before it is whole', () => {
  const { spec } = specOf({ ...emptyDraft(), reader: 'http', placement: 'spread', sources: 'one http://x/', vrl: '.a = 1' })
  expect(tryable(spec)).toMatchObject({ name: 'draft', placement: { spread: 'all' }, senders: [{ type: 'stdout' }], transform: { vrl: '.a = 1' }, sources: [{ id: 'one' }] })
})

test('what was typed is tried as it is', () => {
  const { spec } = specOf({ ...emptyDraft('web'), name: 'n', paths: '/x', senders: [{ name: 'a', type: 'file', path: '/y', url: '' }] })
  expect(tryable(spec)).toEqual(spec)
})

test('parts that the guide has no fields for are left to the raw form, and tried all the same', () => {
  const loki = { type: 'loki', name: 'out', url: 'http://10.0.0.2:3100' } as RunnerSpec['senders'][number]
  expect(draftOf({ ...fleet, reader: { type: 'journal' } })).toBeNull()
  expect(draftOf({ ...fleet, parse: { type: 'grok', pattern: '%{IP:client}' } })).toBeNull()
  expect(draftOf({ ...fleet, senders: [...fleet.senders, loki] })).toBeNull()
  expect(tryable({ ...fleet, senders: [loki] }).senders).toEqual([loki])
})
