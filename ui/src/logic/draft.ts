import type { RunnerSpec } from '../api/client'
import { type Defs, type Fault, fieldOf, isObject, type Json, type JsonObject, look, type Member, put, type Schema, settled, written } from './schema'
import { NAME } from './tags'

/** A part that a runner can have, as `GET /v1/components` lists it. */
export interface Component {
  kind: string
  name: string
  description: string
  missing?: string | null
  schema: unknown
}

/** What the form knows of runners: the whole's schema, and which parts the node's build lacks. */
export interface Book {
  runner: Schema
  defs: Defs
  parts: Component[]
}

export function bookOf(parts: Component[]): Book {
  const schema = (parts.find((part) => part.kind === 'runner')?.schema ?? {}) as Schema
  // The API may be given the name by its path; the form has no path.
  const runner = { ...schema, required: [...new Set(['name', ...(schema.required ?? [])])] }
  return { runner, defs: runner.$defs ?? {}, parts }
}

/** A runner as it is being typed: what is half done or wrong has its place here (`schema.typed`), and none in a spec. */
export interface Draft {
  spec: JsonObject
  /** What was typed for a kind that is not chosen now, by place and kind: whoever chooses it again finds it again. */
  shelf: Record<string, Json>
}

/** Readers that have places of their own, on the node; every other one reads what `sources` names. */
const PINNED = ['file', 'syslog', 'http_push', 'stdin']

/** Readers that cannot wait, and so write to a disk queue. */
const QUEUED = ['syslog', 'http_push', 'stdin']

/** Whether a runner with this kind of reader has a disk queue. */
export const hasQueue = (reader: string) => QUEUED.includes(reader)

export const emptyDraft = (tag = ''): Draft => ({
  spec: {
    name: '', placement: { every: tag }, reader: { type: 'file', paths: [], start_at: 'beginning' }, parse: { type: 'raw' }, senders: [{ type: 'file', name: 'out', path: '' }],
  },
  shelf: {},
})

/** A spec to be edited in fields. Whatever no field shows stays in it. */
export const draftOf = (spec: RunnerSpec): Draft => ({ spec: spec as unknown as JsonObject, shelf: {} })

/** The spec that the fields say, and what is wrong with them. What only a node can judge (VRL, patterns, policy) is left to it. */
export function specOf(draft: Draft, book: Book): { spec: RunnerSpec; faults: Fault[] } {
  const faults: Fault[] = []
  const spec = settled(draft.spec, book.runner, book.defs, '', faults)
  return { spec: spec as unknown as RunnerSpec, faults: faults.map((fault) => (fault.at.startsWith('/placement') ? { ...fault, at: '/placement' } : fault)) }
}

/** Whether a reader reads movable sources. One that is new to the console may. */
export const isMovable = (reader: { type?: unknown } | undefined) => !PINNED.includes(String(reader?.type))

/** The draft with another reader: placed as suits it (a node's own files by every node, a URL by one), with sources only where it reads such. */
export function withReader(draft: Draft, reader: JsonObject): Draft {
  const { sources, ...rest } = draft.spec
  const selection = Object.values(isObject(rest.placement) ? rest.placement : {})[0] ?? ''
  const shelf = sources === undefined ? draft.shelf : { ...draft.shelf, '/sources': sources }
  const movable = isMovable(reader)
  const kept = movable ? (sources ?? draft.shelf['/sources']) : undefined
  return { spec: { ...rest, reader, placement: movable ? { spread: selection } : { every: selection }, ...(kept === undefined ? {} : { sources: kept }) }, shelf }
}

/** A sender more, of the first kind, under a name that no other has. */
export function withSender(draft: Draft): Draft {
  const senders = Array.isArray(draft.spec.senders) ? draft.spec.senders : []
  const names = senders.map((sender) => (isObject(sender) ? sender.name : ''))
  let n = senders.length + 1
  while (names.includes(`out-${n}`)) n += 1
  return { ...draft, spec: { ...draft.spec, senders: [...senders, { type: 'file', name: senders.length === 0 ? 'out' : `out-${n}`, path: '' }] } }
}

/** The draft with another value at a pointer. */
export const withValue = (draft: Draft, at: string, value: Json | undefined): Draft => ({ ...draft, spec: put(draft.spec, at, value) as JsonObject })

/** The draft with another shape at a pointer, where there was one called `from`: what was typed for that is put on the shelf, and what `to` had there taken from it. */
export function withKind(draft: Draft, at: string, from: string, to: string, fresh: () => Json | undefined): Draft {
  const value = look(draft.spec, at)
  const shelf = value === undefined ? draft.shelf : { ...draft.shelf, [`${at}#${from}`]: value }
  return withValue({ ...draft, shelf }, at, shelf[`${at}#${to}`] ?? fresh())
}

/** Why the node that is asked would refuse this part; undefined where it would not. */
export function missing(book: Book, at: string, name: string): string | undefined {
  const kind = /^\/(reader|parse|transform)$/.exec(at)?.[1] ?? (/^\/senders\/\d+$/.test(at) ? 'sender' : undefined)
  return book.parts.find((part) => part.kind === kind && part.name === name)?.missing ?? undefined
}

/** A spec as a node can try it though it is half typed: what is missing has a stand-in that tries nothing. */
export function tryable(spec: RunnerSpec): RunnerSpec {
  const whole = (spec.senders ?? []).filter((sender) => NAME.test(sender.name ?? '') && Object.values(sender).every((value) => value !== ''))
  const [kind, selection] = Object.entries(spec.placement ?? {})[0] ?? ['every', '']
  return {
    ...spec,
    name: spec.name && NAME.test(spec.name) ? spec.name : 'draft',
    placement: { [kind]: String(selection).trim() || 'all' } as RunnerSpec['placement'],
    senders: whole.length > 0 ? whole : [{ type: 'stdout', name: 'out' }],
  }
}

/** Optional members that everybody asks for. */
const FRONT = ['start_at']

/** The members of a group as they are shown: what must be there, what everybody asks for, the rest; and what is aside. */
export function ordered(members: Member[], defs: Defs): { front: Member[]; aside: Member[] } {
  const front = members.filter((member) => member.isNeeded || !isAside(member.key, member.schema, defs))
  const place = (member: Member) => (member.isNeeded ? 0 : FRONT.includes(member.key) ? 1 : 2)
  return { front: front.sort((a, b) => place(a) - place(b)), aside: members.filter((member) => !front.includes(member)) }
}

/** Whether an optional member is seldom touched: it has a value without being asked, or is a list or a choice that is mostly left alone. */
function isAside(key: string, schema: Schema, defs: Defs): boolean {
  if (FRONT.includes(key)) return false
  if (schema.default !== undefined && schema.default !== null) return true
  return ['texts', 'pairs', 'list', 'json', 'switch', 'choice'].includes(fieldOf(schema, defs).is)
}

/** Whether a value needs another look than its field's: as it is written. */
export const isOdd = (value: Json | undefined, schema: Schema, defs: Defs, key: string): boolean => {
  const field = fieldOf(schema, defs, key)
  if (value === undefined || value === null) return false
  switch (field.is) {
    case 'group':
      return !isObject(value)
    case 'list':
      return !Array.isArray(value)
    case 'kinds':
      return !isObject(value)
    case 'switch':
      return typeof value !== 'boolean'
    case 'sources':
      return written(value, field) === undefined && !Array.isArray(value)
    default:
      return written(value, field) === undefined
  }
}
