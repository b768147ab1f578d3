import { readFileSync } from 'node:fs'
import { parse } from 'smol-toml'
import { describe, expect, test } from 'vitest'
import type { RunnerSpec } from '../api/client'
import listed from '../../fixtures/components.json'
import { bookOf, type Component, draftOf, emptyDraft, hasQueue, isMovable, missing, specOf, tryable, withKind, withReader, withSender, withValue } from './draft'
import { entered, fieldOf, isObject, type JsonObject, kindOf, meant, type Schema, turned } from './schema'

const parts = listed.items as Component[]
const book = bookOf(parts)
const members = (name: string) => book.runner.properties?.[name] ?? {}

const fleet: RunnerSpec = {
  name: 'fleet',
  placement: { spread: 'collectors' },
  reader: { type: 'http' },
  sources: [{ id: 'web-1', url: 'http://10.0.0.1/log' }],
  parse: { type: 'nginx' },
  transform: { vrl: '.env = "prod"' },
  senders: [{ type: 'file', name: 'out', path: '/tmp/{node}.ndjson' }],
}

/** The draft with a text typed into the field at a pointer, by the key that its schema has for it. */
function type(draft: ReturnType<typeof emptyDraft>, at: string, schema: Schema, text: string) {
  const field = fieldOf(schema, book.defs, at.split('/').at(-1))
  return withValue(draft, at, entered(text, field))
}

const kinds = (part: 'reader' | 'parse' | 'senders') => {
  const whole = meant(members(part), book.defs)
  const field = fieldOf(part === 'senders' ? (whole.items ?? {}) : whole, book.defs)
  if (field.is !== 'kinds') throw new Error(`${part} has no kinds`)
  return field.kinds
}

test('what the fields say of a spec is that spec again', () => {
  expect(specOf(draftOf(fleet), book)).toEqual({ spec: fleet, faults: [] })
})

test('nothing that no field shows is dropped: members, components and values that are new to the console', () => {
  const odd = {
    ...fleet, novel: { deep: [1, null, { a: 'b' }] }, reader: { type: 'sonar', depth: 3 }, parse: null,
    senders: [{ type: 'file', name: 'out', path: '/x', sparkle: true, rotate: { bytes: 70000, spin: [1] } }, { type: 'pigeon', name: 'p', cote: 'north' }],
  } as unknown as RunnerSpec
  expect(specOf(draftOf(odd), book)).toEqual({ spec: odd, faults: [] })
})

describe('each example of docs/runners.md comes back from the form as it was, each member in a field of its own', () => {
  const documented = readFileSync('../docs/runners.md', 'utf8')
  const examples = [...documented.matchAll(/```toml\n([\s\S]*?)```/g)].map((found) => found[1] ?? '')
  // An example shows a part: the rest is the plainest runner.
  const whole = (part: JsonObject): JsonObject => {
    const reader = isObject(part.reader) ? part.reader : {}
    return { name: 'a', placement: { every: 'web' }, senders: [{ type: 'stdout', name: 'out' }], ...part, reader: 'type' in reader ? reader : { type: 'file', paths: ['/x'], ...reader } }
  }
  test('there are examples of all three parts', () => expect(examples.length).toBeGreaterThan(20))
  test.each(examples.map((text) => [text.split('\n').slice(0, 2).join(' '), text]))('%s', (_, text) => {
    const spec = whole(parse(text) as unknown as JsonObject)
    expect(specOf(draftOf(spec as unknown as RunnerSpec), book)).toEqual({ spec, faults: [] })
    expect(unshown(spec, book.runner, '').filter((at) => !FREE.includes(at.split('/').at(-1) ?? ''))).toEqual([])
  })
})

/** Members whose values may have any shape (what a record must look like, lists by name): their field shows them as JSON. */
const FREE = ['body', 'fields', 'routed']

/** Pointers of what has no field of its own and would be edited as it is written. */
function unshown(value: unknown, schema: Schema, at: string): string[] {
  const field = fieldOf(schema, book.defs, at.split('/').at(-1))
  if (field.is === 'json') return [at]
  if (field.is === 'group') {
    const known = new Map(field.members.map((member) => [member.key, member.schema]))
    return Object.entries(value as object).flatMap(([key, inner]) => (known.has(key) ? unshown(inner, known.get(key) ?? {}, `${at}/${key}`) : key === 'type' ? [] : [`${at}/${key}`]))
  }
  if (field.is === 'kinds') {
    const kind = kindOf(value as JsonObject, field.kinds)
    return kind ? unshown(value, kind.schema, at) : [at]
  }
  if (field.is === 'list' && Array.isArray(value)) return value.flatMap((one, place) => unshown(one, field.item, `${at}/${place}`))
  return []
}

test('each component has fields for all that it can say', () => {
  const bare = parts.flatMap((part) => {
    const schema = part.schema as Schema
    const field = fieldOf(schema, schema.$defs ?? {})
    return field.is === 'group' ? field.members.filter((member) => fieldOf(member.schema, schema.$defs ?? {}).is === 'json').map((member) => `${part.kind} ${part.name} ${member.key}`) : [`${part.kind} ${part.name}`]
  })
  expect(bare).toEqual([])
})

test('an empty form says which fields are needed, by the same pointers as the API', () => {
  expect(specOf(emptyDraft(), book).faults.map((fault) => fault.at).sort()).toEqual(['/name', '/placement', '/reader/paths', '/senders/0/path'])
})

test('a line that is no source is told by its number, and stays as it was typed', () => {
  const draft = withReader(withValue(emptyDraft('web'), '/name', 'a'), { type: 'http' })
  const text = 'ok http://a/\n\nBad http://b/\nlonely'
  const half = type(draft, '/sources', members('sources'), text)
  const { spec, faults } = specOf(half, book)
  expect(spec.sources).toEqual([{ id: 'ok', url: 'http://a/' }])
  expect(faults.filter((fault) => fault.at === '/sources').map((fault) => fault.values.n)).toEqual([3, 4])
  expect(JSON.stringify(half.spec.sources)).toContain('lonely')
})

test('what is no number, or out of its bounds, is told with the bounds', () => {
  const poll = kinds('reader').find((kind) => kind.name === 'http')?.schema.properties?.poll_ms ?? {}
  const faultsOf = (text: string) => {
    const draft = type(withReader(emptyDraft('web'), { type: 'http' }), '/reader/poll_ms', poll, text)
    return specOf(draft, book).faults.filter((fault) => fault.at === '/reader/poll_ms').map((fault) => [fault.key, fault.values])
  }
  expect([faultsOf('fast'), faultsOf('10'), faultsOf('250')]).toEqual([[['number_bad', {}]], [['number_range', { least: 50, most: 600_000 }]], []])
})

test('another kind keeps what both have, and the first comes back as it was left', () => {
  const found = kinds('senders')
  const [http, loki] = ['http', 'loki'].map((name) => found.find((kind) => kind.name === name))
  const before = { type: 'http', name: 'out', url: 'http://a/', timeout_ms: 5000 }
  const draft = withValue(emptyDraft('web'), '/senders', [before])
  const other = withKind(draft, '/senders/0', 'http', 'loki', () => turned(before, http, loki!, book.defs))
  expect(other.spec.senders).toEqual([{ type: 'loki', name: 'out', url: 'http://a/', timeout_ms: 5000 }])
  expect(withKind(other, '/senders/0', 'loki', 'http', () => ({})).spec.senders).toEqual([before])
})

test('a reader of URLs is spread and has sources; one of a node is on every node, and loses none that were typed', () => {
  const http = withValue(withReader(emptyDraft('web'), { type: 'http' }), '/sources', [{ id: 'a', url: 'http://a/' }])
  const file = withReader(http, { type: 'file', paths: ['/x'] })
  expect([http.spec.placement, file.spec.placement, 'sources' in file.spec]).toEqual([{ spread: 'web' }, { every: 'web' }, false])
  expect(withReader(file, { type: 'journal' }).spec.sources).toEqual(http.spec.sources)
  expect(isMovable({ type: 'brand_new' })).toBe(true)
})

test('a sender more has a name of its own', () => {
  const three = withSender(withSender(withValue(emptyDraft(), '/senders', [{ type: 'stdout', name: 'out-2' }])))
  expect((three.spec.senders as JsonObject[]).map((sender) => sender.name)).toEqual(['out-2', 'out-3', 'out-4'])
})

test('a component that the build lacks is told with the reason', () => {
  const lacking = bookOf(parts.map((part) => (part.name === 'nats' ? { ...part, missing: 'this build lacks it' } : part)))
  expect([missing(lacking, '/senders/1', 'nats'), missing(lacking, '/senders/0', 'file'), missing(lacking, '/reader', 'nats')]).toEqual(['this build lacks it', undefined, undefined])
})

test('a runner can be tried before it is whole', () => {
  const draft = withValue(withValue(withReader(emptyDraft(), { type: 'http' }), '/sources', [{ id: 'one', url: 'http://x/' }]), '/transform', { vrl: '.a = 1' })
  expect(tryable(specOf(draft, book).spec)).toMatchObject({ name: 'draft', placement: { spread: 'all' }, senders: [{ type: 'stdout' }], transform: { vrl: '.a = 1' }, sources: [{ id: 'one' }] })
})

test('what was typed is tried as it is', () => {
  expect(tryable(fleet)).toEqual(fleet)
})

test('only what cannot wait has a disk queue', () => {
  expect(['syslog', 'http_push', 'stdin', 'file', 'http'].filter(hasQueue)).toEqual(['syslog', 'http_push', 'stdin'])
})
