import type { RunnerSpec } from '../api/client'
import { NAME } from './tags'

/** The wizard's fields, as typed: what is half done or wrong has its place here, and none in a spec. */
export interface Draft {
  name: string
  reader: 'file' | 'http'
  paths: string
  sources: string
  startAt: 'beginning' | 'end'
  parse: 'raw' | 'json' | 'nginx' | 'regex'
  pattern: string
  time: string
  timeLayout: string
  format: string
  vrl: string
  senders: DraftSender[]
  placement: 'every' | 'spread'
  selection: string
}

/** The parts that have fields; a runner with others is edited as it is written. */
const GUIDED = { reader: ['file', 'http'], parse: ['raw', 'json', 'nginx', 'regex'], sender: ['file', 'http', 'stdout'] } as const

const isGuided = <Part extends { type: string }, Type extends string>(part: Part, types: readonly Type[]): part is Extract<Part, { type: Type }> =>
  (types as readonly string[]).includes(part.type)

export interface DraftSender {
  name: string
  type: 'file' | 'http' | 'stdout'
  path: string
  url: string
}

export const emptyDraft = (tag = ''): Draft => ({
  name: '', reader: 'file', paths: '', sources: '', startAt: 'beginning', parse: 'raw', pattern: '', time: '', timeLayout: '', format: '', vrl: '',
  senders: [{ name: 'out', type: 'file', path: '', url: '' }], placement: 'every', selection: tag,
})

/** A fault of a field: `at` is a JSON pointer into the spec, as the API has them too. */
export interface DraftFault {
  at: string
  key: 'needed' | 'line_bad' | 'tags_bad'
  values: Record<string, string | number>
}

const lines = (text: string) => text.split('\n').map((line) => line.trim())

/** The spec that the fields say, and what is wrong with them. What only a node can judge (VRL, patterns, policy) is left to it. */
export function specOf(draft: Draft): { spec: RunnerSpec; faults: DraftFault[] } {
  const faults: DraftFault[] = []
  const need = (at: string, value: string, what: string) => {
    if (value.trim() === '') faults.push({ at, key: 'needed', values: { what } })
  }
  const isName = (at: string, value: string, what: string) => {
    need(at, value, what)
    if (value.trim() !== '' && !NAME.test(value)) faults.push({ at, key: 'tags_bad', values: { tag: value } })
  }
  isName('/name', draft.name, 'name')
  const spec: RunnerSpec = {
    name: draft.name,
    placement: draft.placement === 'every' ? { every: draft.selection.trim() } : { spread: draft.selection.trim() },
    reader: { type: 'file', paths: [], start_at: draft.startAt },
    senders: [],
  }
  if (draft.reader === 'file') {
    const paths = lines(draft.paths).filter((path) => path !== '')
    if (paths.length === 0) need('/reader/paths', '', 'paths')
    spec.reader = { type: 'file', paths, start_at: draft.startAt }
  } else {
    spec.reader = { type: 'http', start_at: draft.startAt }
    spec.sources = sourcesOf(draft.sources, faults)
  }
  if (draft.parse === 'json') spec.parse = { type: 'json', ...(draft.time ? { time: draft.time } : {}) }
  if (draft.parse === 'nginx') spec.parse = { type: 'nginx', ...(draft.format ? { format: draft.format } : {}) }
  if (draft.parse === 'regex') {
    need('/parse/pattern', draft.pattern, 'pattern')
    spec.parse = { type: 'regex', pattern: draft.pattern, ...(draft.time ? { time: draft.time } : {}), ...(draft.timeLayout ? { time_layout: draft.timeLayout } : {}) }
  }
  if (draft.vrl.trim() !== '') spec.transform = { vrl: draft.vrl }
  spec.senders = draft.senders.map((sender, at) => {
    isName(`/senders/${at}/name`, sender.name, 'name')
    if (sender.type === 'stdout') return { type: 'stdout', name: sender.name }
    if (sender.type === 'http') {
      need(`/senders/${at}/url`, sender.url, 'URL')
      return { type: 'http', name: sender.name, url: sender.url }
    }
    need(`/senders/${at}/path`, sender.path, 'path')
    return { type: 'file', name: sender.name, path: sender.path }
  })
  need('/placement', draft.selection, 'selection')
  return { spec, faults }
}

function sourcesOf(text: string, faults: DraftFault[]) {
  const sources: { id: string; url: string }[] = []
  lines(text).forEach((line, at) => {
    if (line === '') return
    const [id, url, ...rest] = line.split(/\s+/)
    if (id && url && rest.length === 0 && NAME.test(id)) sources.push({ id, url })
    else faults.push({ at: '/sources', key: 'line_bad', values: { n: at + 1 } })
  })
  return sources
}

/** The fields that say this spec; null where it has something that they cannot say, so that the guide never drops what it does not know. */
export function draftOf(spec: RunnerSpec): Draft | null {
  const draft = emptyDraft()
  draft.name = spec.name ?? ''
  draft.placement = 'every' in spec.placement ? 'every' : 'spread'
  draft.selection = 'every' in spec.placement ? spec.placement.every : spec.placement.spread
  const { reader, parse } = spec
  if (!isGuided(reader, GUIDED.reader) || (parse && !isGuided(parse, GUIDED.parse))) return null
  draft.reader = reader.type
  draft.startAt = reader.start_at ?? 'beginning'
  if (reader.type === 'file') draft.paths = reader.paths.join('\n')
  draft.sources = (spec.sources ?? []).map((source) => `${source.id} ${source.url}`).join('\n')
  if (parse) draft.parse = parse.type
  if (parse?.type === 'json') draft.time = parse.time ?? ''
  if (parse?.type === 'nginx') draft.format = parse.format ?? ''
  if (parse?.type === 'regex') Object.assign(draft, { pattern: parse.pattern, time: parse.time ?? '', timeLayout: parse.time_layout ?? '' })
  draft.vrl = spec.transform?.vrl ?? ''
  const senders = spec.senders.filter((sender) => isGuided(sender, GUIDED.sender))
  if (senders.length < spec.senders.length) return null
  draft.senders = senders.map((sender) => ({
    name: sender.name, type: sender.type, path: sender.type === 'file' ? sender.path : '', url: sender.type === 'http' ? sender.url : '',
  }))
  return same(plain(specOf(draft).spec), plain(spec)) ? draft : null
}

/** A spec as a node can try it though it is half typed: what is missing has a stand-in that tries nothing. */
export function tryable(spec: RunnerSpec): RunnerSpec {
  const place = (sender: RunnerSpec['senders'][number]) => ('url' in sender ? sender.url : 'path' in sender ? sender.path : sender.type)
  const whole = (spec.senders ?? []).filter((sender) => NAME.test(sender.name) && place(sender).trim() !== '')
  const [kind, selection] = Object.entries(spec.placement ?? {})[0] ?? ['every', '']
  return {
    ...spec,
    name: spec.name && NAME.test(spec.name) ? spec.name : 'draft',
    placement: { [kind]: String(selection).trim() || 'all' } as RunnerSpec['placement'],
    senders: whole.length > 0 ? whole : [{ type: 'stdout', name: 'out' }],
  }
}

/** What two ways to write the same spec have in common: no nulls, no defaults that the API fills in. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).map(([key, inner]) => [key, plain(inner)] as const)
  return Object.fromEntries(entries.filter(([key, inner]) => !isDefault(key, inner)).sort(([a], [b]) => (a < b ? -1 : 1)))
}

/** The defaults of the reader, the sender and the rest, as `src/cluster/spec.rs` has them. */
function isDefault(key: string, value: unknown): boolean {
  const defaults: Record<string, unknown> = { start_at: 'beginning', poll_ms: 500, line_bytes_max: 1 << 20, timeout_ms: 30_000 }
  if (value === null || value === undefined || value === '') return true
  if (typeof value === 'object' && Object.keys(value).length === 0) return true
  if (key === 'parse') return typeof value === 'object' && 'type' in value && value.type === 'raw'
  return defaults[key] === value
}

const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b)
