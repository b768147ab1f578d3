/** A form from JSON Schemas: which field suits what, what was typed into it, and what is wrong with that. Nothing here knows a component. */

export type Json = null | boolean | number | string | Json[] | JsonObject
export interface JsonObject {
  [key: string]: Json
}

/** A description without the `type` that a kind begins with: the guide has chosen that already. */
export const described = (description: string) => description.replace(/^`type = "[^"]*"`[.:] ?/, '')

/** The part of JSON Schema 2020-12 that the API's description uses. */
export interface Schema {
  $ref?: string
  $defs?: Record<string, Schema>
  type?: string | string[]
  description?: string
  properties?: Record<string, Schema>
  required?: string[]
  additionalProperties?: boolean | Schema
  items?: Schema
  oneOf?: Schema[]
  enum?: Json[]
  default?: Json
  pattern?: string
  minimum?: number
  maximum?: number
}

/** What a form shows for a value. `json` is for what has no field: it is edited as it is written. */
export type Field =
  | { is: 'text'; pattern?: string }
  | { is: 'choice'; of: string[] }
  | { is: 'number'; whole: boolean; least?: number; most?: number }
  | { is: 'switch' }
  /** Texts, one a line. */
  | { is: 'texts' }
  /** Texts by name, `name = text` a line. */
  | { is: 'pairs' }
  /** Movable sources, `id URL` a line, as long as none has more than that. */
  | { is: 'sources'; item: Schema }
  | { is: 'group'; members: Member[] }
  | { is: 'list'; item: Schema }
  | { is: 'kinds'; kinds: Kind[] }
  | { is: 'json' }

export interface Member {
  key: string
  schema: Schema
  isNeeded: boolean
}

/** One of several shapes: told by the value of `tag`, or where there is none by the key that it alone has. */
export interface Kind {
  name: string
  tag?: string
  schema: Schema
}

/** A fault of a field: `at` is a JSON pointer into the spec, as the API has them too. */
export interface Fault {
  at: string
  key: 'needed' | 'line_bad' | 'pair_bad' | 'tags_bad' | 'number_bad' | 'number_range' | 'json_bad'
  values: Record<string, string | number>
}

const TYPED = '…typed'

/** A text that is no value yet, or not written as its value would be: it stays as it was typed, in the value's place. */
export const typed = (text: string): JsonObject => ({ [TYPED]: text })
/** The text of [`typed`]; undefined for a value. */
export function typedText(value: Json | undefined): string | undefined {
  const text = isObject(value) ? value[TYPED] : undefined
  return typeof text === 'string' ? text : undefined
}

export const isObject = (value: Json | undefined): value is JsonObject => typeof value === 'object' && value !== null && !Array.isArray(value)

export type Defs = Record<string, Schema>

/** The schema that is meant: without references, and without the null that stands for "absent". */
export function meant(schema: Schema, defs: Defs): Schema {
  if (schema.$ref) {
    const { $ref, ...own } = schema
    return { ...meant(defs[$ref.split('/').at(-1) ?? ''] ?? {}, defs), ...own }
  }
  const rest = schema.oneOf?.filter((one) => one.type !== 'null')
  if (schema.oneOf && rest?.length === 1 && rest[0]) {
    const { oneOf, ...own } = schema
    return { ...meant(rest[0], defs), ...own }
  }
  const types = Array.isArray(schema.type) ? schema.type.filter((type) => type !== 'null') : []
  return types.length === 1 ? { ...schema, type: types[0] } : schema
}

export function fieldOf(whole: Schema, defs: Defs, key = ''): Field {
  const schema = meant(whole, defs)
  if (schema.oneOf) {
    const kinds = kindsOf(schema.oneOf, defs)
    return kinds ? { is: 'kinds', kinds } : { is: 'json' }
  }
  if (schema.enum) return schema.enum.every((one) => typeof one === 'string') ? { is: 'choice', of: schema.enum } : { is: 'json' }
  switch (schema.type) {
    case 'string':
      return schema.pattern ? { is: 'text', pattern: schema.pattern } : { is: 'text' }
    case 'integer':
    case 'number':
      return { is: 'number', whole: schema.type === 'integer', least: schema.minimum, most: schema.maximum }
    case 'boolean':
      return { is: 'switch' }
    case 'array': {
      const item = meant(schema.items ?? {}, defs)
      if (key === 'sources') return { is: 'sources', item }
      return item.type === 'string' && !item.enum ? { is: 'texts' } : item.properties || item.oneOf ? { is: 'list', item } : { is: 'json' }
    }
    case 'object': {
      if (schema.properties) return { is: 'group', members: membersOf(schema) }
      const of = typeof schema.additionalProperties === 'object' ? meant(schema.additionalProperties, defs) : {}
      return of.type === 'string' && !of.enum ? { is: 'pairs' } : { is: 'json' }
    }
    default:
      return { is: 'json' }
  }
}

/** The members of a group: those that must be there first. What tells a kind is chosen, not typed. */
function membersOf(schema: Schema): Member[] {
  const needed = schema.required ?? []
  const members = Object.entries(schema.properties ?? {}).map(([key, schema]) => ({ key, schema, isNeeded: needed.includes(key) }))
  const place = (member: Member) => (member.isNeeded ? needed.indexOf(member.key) : needed.length)
  return members.filter((member) => tagOf(member.schema) === undefined).sort((a, b) => place(a) - place(b))
}

const tagOf = (schema: Schema | undefined): string | undefined => {
  const only = schema?.enum?.length === 1 ? schema.enum[0] : undefined
  return typeof only === 'string' ? only : undefined
}

function kindsOf(variants: Schema[], defs: Defs): Kind[] | undefined {
  const shapes = variants.map((variant) => meant(variant, defs))
  const tag = Object.keys(shapes[0]?.properties ?? {}).find((key) => shapes.every((shape) => tagOf(shape.properties?.[key]) !== undefined))
  const kinds = shapes.map((schema): Kind | undefined => {
    const name = tag ? tagOf(schema.properties?.[tag]) : schema.required?.length === 1 ? schema.required[0] : undefined
    return name === undefined ? undefined : { name, tag, schema }
  })
  const known = kinds.filter((kind) => kind !== undefined)
  return known.length === kinds.length && new Set(known.map((kind) => kind.name)).size === known.length ? known : undefined
}

/** Which kind a value is of; undefined where it is of none that is known. */
export const kindOf = (value: Json | undefined, kinds: Kind[]): Kind | undefined =>
  isObject(value) ? kinds.find((kind) => (kind.tag ? value[kind.tag] === kind.name : kind.name in value)) : undefined

/** A new value: the texts that must be there, empty. */
export function blank(schema: Schema, defs: Defs): Json {
  const field = fieldOf(schema, defs)
  switch (field.is) {
    case 'group':
      return Object.fromEntries(field.members.filter((member) => member.isNeeded).map((member) => [member.key, blank(member.schema, defs)]))
    case 'kinds':
      return field.kinds[0] ? blankKind(field.kinds[0], defs) : {}
    case 'texts':
    case 'list':
    case 'sources':
      return []
    case 'pairs':
      return {}
    case 'switch':
      return false
    case 'choice':
      return field.of[0] ?? ''
    default:
      return ''
  }
}

const blankKind = (kind: Kind, defs: Defs): JsonObject => {
  const rest = blank(kind.schema, defs)
  return { ...(kind.tag ? { [kind.tag]: kind.name } : {}), ...(isObject(rest) ? rest : {}) }
}

/** The value as another kind: what both have is kept. */
export function turned(value: Json | undefined, from: Kind | undefined, to: Kind, defs: Defs): JsonObject {
  const fresh = blankKind(to, defs)
  if (!isObject(value) || !from) return fresh
  const [before, after] = [from, to].map((kind) => new Map(Object.entries(kind.schema.properties ?? {}).map(([key, schema]) => [key, JSON.stringify(fieldOf(schema, defs))])))
  for (const [key, inner] of Object.entries(value)) if (key !== to.tag && before?.get(key) !== undefined && before.get(key) === after?.get(key)) fresh[key] = inner
  return fresh
}

/** What a field that is written as text shows for a value; undefined where the value cannot be written so. */
export function written(value: Json | undefined, field: Field): string | undefined {
  const text = typedText(value)
  if (text !== undefined) return text
  if (value === undefined || value === null) return ''
  switch (field.is) {
    case 'texts':
      return Array.isArray(value) && value.every((one) => typeof one === 'string' && one !== '' && one.trim() === one && !one.includes('\n')) ? value.join('\n') : undefined
    case 'pairs': {
      if (!isObject(value)) return undefined
      const lines = Object.entries(value).map(([name, inner]) => `${name} = ${String(inner)}`)
      return same(read(lines.join('\n'), field).value, value) ? lines.join('\n') : undefined
    }
    case 'sources': {
      if (!Array.isArray(value)) return undefined
      const lines = value.map((one) => (isObject(one) ? `${String(one.id)} ${String(one.url)}` : ''))
      return same(read(lines.join('\n'), field).value, value) ? lines.join('\n') : undefined
    }
    case 'number':
      return typeof value === 'number' || typeof value === 'string' ? String(value) : undefined
    case 'json':
      return JSON.stringify(value, null, 2)
    default:
      return typeof value === 'string' ? value : undefined
  }
}

type Reading = { value: Json | undefined; faults: Omit<Fault, 'at'>[] }

/** What a text means in a field, and what of it means nothing. */
function read(text: string, field: Field): Reading {
  const faults: Reading['faults'] = []
  const lines = text.split('\n').map((line) => line.trim())
  switch (field.is) {
    case 'texts':
      return { value: lines.filter((line) => line !== ''), faults }
    case 'pairs': {
      const pairs: JsonObject = {}
      lines.forEach((line, at) => {
        const cut = line.indexOf('=')
        const name = line.slice(0, Math.max(cut, 0)).trim()
        if (name !== '') pairs[name] = line.slice(cut + 1).trim()
        else if (line !== '') faults.push({ key: 'pair_bad', values: { n: at + 1 } })
      })
      return { value: pairs, faults }
    }
    case 'sources': {
      const pattern = new RegExp(meant(field.item.properties?.id ?? {}, {}).pattern ?? '^[a-z0-9][a-z0-9._-]{0,62}$')
      const sources: Json[] = []
      lines.forEach((line, at) => {
        if (line === '') return
        const [id, url, ...rest] = line.split(/\s+/)
        if (id && url && rest.length === 0 && pattern.test(id)) sources.push({ id, url })
        else faults.push({ key: 'line_bad', values: { n: at + 1 } })
      })
      return { value: sources, faults }
    }
    case 'number':
      if (/^-?\d+(\.\d+)?$/.test(text.trim())) return { value: Number(text), faults }
      return { value: undefined, faults: [{ key: 'number_bad', values: {} }] }
    case 'json':
      try {
        return { value: JSON.parse(text) as Json, faults }
      } catch (error) {
        return { value: undefined, faults: [{ key: 'json_bad', values: { reason: error instanceof Error ? error.message : String(error) } }] }
      }
    default:
      return { value: text, faults }
  }
}

/** What a field holds once `text` stands in it: its value, where that would be written so again; else the text itself. Nothing: undefined. */
export function entered(text: string, field: Field): Json | undefined {
  if (text === '') return undefined
  const { value, faults } = read(text, field)
  return faults.length === 0 && value !== undefined && written(value, field) === text ? value : typed(text)
}

const same = (a: Json | undefined, b: Json | undefined): boolean => JSON.stringify(a) === JSON.stringify(b)

/**
 * The value that is meant by what was typed, and its faults. What no field knows stays as it is; what only a node can judge (patterns, programs, its policy) is left to it.
 */
export function settled(value: Json | undefined, whole: Schema, defs: Defs, at: string, faults: Fault[], isNeeded = false): Json | undefined {
  const key = at.split('/').at(-1) ?? ''
  const field = fieldOf(whole, defs, key)
  const need = (is: boolean) => is && isNeeded && faults.push({ at, key: 'needed', values: { what: key } })
  const text = typedText(value)
  if (text !== undefined) {
    const found = read(text, field)
    faults.push(...found.faults.map((fault) => ({ ...fault, at })))
    // A fault of the same field was told already.
    return found.value === undefined ? undefined : settled(found.value, whole, defs, at, faults, isNeeded && found.faults.length === 0)
  }
  if (value === undefined || value === null) {
    need(field.is !== 'switch')
    return value
  }
  switch (field.is) {
    case 'text':
      need(typeof value === 'string' && value.trim() === '')
      if (field.pattern && typeof value === 'string' && value.trim() !== '' && !new RegExp(field.pattern).test(value)) faults.push({ at, key: 'tags_bad', values: { tag: value } })
      return value
    case 'number':
      if (typeof value === 'number' && ((field.least !== undefined && value < field.least) || (field.most !== undefined && value > field.most)))
        faults.push({ at, key: 'number_range', values: { least: field.least ?? '', most: field.most ?? '' } })
      return value
    case 'texts':
      need(Array.isArray(value) && value.length === 0)
      return value
    case 'group':
      return isObject(value) ? settledGroup(value, field.members, defs, at, faults) : value
    case 'kinds': {
      const kind = kindOf(value, field.kinds)
      return kind ? settled(value, kind.schema, defs, at, faults) : value
    }
    case 'list':
    case 'sources':
      if (!Array.isArray(value)) return value
      need(value.length === 0)
      return value.map((item, place) => settled(item, field.item, defs, `${at}/${place}`, faults) ?? null)
    default:
      return value
  }
}

function settledGroup(value: JsonObject, members: Member[], defs: Defs, at: string, faults: Fault[]): JsonObject {
  const group: JsonObject = {}
  const told = new Set<string>()
  const add = (key: string, inner: Json | undefined) => {
    if (inner !== undefined) group[key] = inner
  }
  // In the order in which it was written.
  for (const [key, inner] of Object.entries(value)) {
    const member = members.find((member) => member.key === key)
    told.add(key)
    add(key, member ? settled(inner, member.schema, defs, `${at}/${key}`, faults, member.isNeeded) : inner)
  }
  for (const member of members) if (!told.has(member.key)) settled(undefined, member.schema, defs, `${at}/${member.key}`, faults, member.isNeeded)
  return group
}

/** The members of a value that its schema does not name: they are kept, and nothing more is known of them. */
export const strangers = (value: Json | undefined, schema: Schema): string[] => (isObject(value) ? Object.keys(value).filter((key) => key !== TYPED && !(key in (schema.properties ?? {}))) : [])

/** What is at a JSON pointer without escapes (keys of specs need none). */
export function look(value: Json | undefined, at: string): Json | undefined {
  let here: Json | undefined = value
  for (const key of at.split('/').slice(1)) here = Array.isArray(here) ? here[Number(key)] : isObject(here) ? here[key] : undefined
  return here
}

/** The same value with another at the pointer; undefined takes it out. */
export function put(value: Json | undefined, at: string, inner: Json | undefined): Json {
  const [, key, ...rest] = at.split('/')
  if (key === undefined) return inner ?? null
  const below = rest.length > 0 ? `/${rest.join('/')}` : ''
  if (Array.isArray(value)) {
    const place = Number(key)
    if (below === '' && inner === undefined) return value.filter((_, at) => at !== place)
    return value.map((item, at) => (at === place ? (below ? put(item, below, inner) : (inner ?? null)) : item))
  }
  const object = isObject(value) ? value : {}
  if (below === '' && inner === undefined) return Object.fromEntries(Object.entries(object).filter(([name]) => name !== key))
  return { ...object, [key]: below ? put(object[key], below, inner) : (inner ?? null) }
}
