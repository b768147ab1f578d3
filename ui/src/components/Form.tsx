import { Button, Checkbox, Fieldset, NativeSelect, Stack, Text, Textarea, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { createContext, Fragment, type ReactNode, useContext, useState } from 'react'
import { chinese } from '../api/queries'
import { type Book, type Draft, isOdd, missing, ordered, withKind, withReader, withSender, withValue } from '../logic/draft'
import { blank, described, entered, type Field, fieldOf, isObject, type Json, kindOf, look, type Member, meant, type Schema, strangers, turned, written } from '../logic/schema'
import { fieldName } from '../text'
import { useWords } from './words'

interface Editing {
  book: Book
  draft: Draft
  onChange: (draft: Draft) => void
  /** What is wrong with the field at a pointer, once that may be told. */
  fault: (at: string) => string | undefined
}

const Context = createContext<Editing | undefined>(undefined)
export const Form = Context.Provider

function useEditing(): Editing {
  const editing = useContext(Context)
  if (!editing) throw new Error('there is no Form above')
  return editing
}

interface Of {
  at: string
  schema: Schema
  isNeeded?: boolean
  disabled?: boolean
}

/** Descriptions as the API has them, in the reader's language as far as that has them: what stands between backticks is code. */
function Described({ of }: { of: string }) {
  const { language } = useWords()
  const { data } = useQuery({ ...chinese, enabled: language === 'zh' })
  const text = described(of)
  const told = (language === 'zh' && data?.[text]) || text
  return told.split('`').map((piece, at) => (at % 2 === 1 ? <code key={at}>{piece}</code> : <Fragment key={at}>{piece}</Fragment>))
}

/** The field of a value of the draft, whatever its schema is. */
export function Value({ at, schema, isNeeded = false, disabled }: Of) {
  const { book, draft, onChange, fault } = useEditing()
  const { t, language } = useWords()
  const key = at.split('/').at(-1) ?? ''
  const value = look(draft.spec, at)
  const whole = meant(schema, book.defs)
  const field = fieldOf(schema, book.defs, key)
  const set = (value: Json | undefined) => onChange(withValue(draft, at, value))
  const described = whole.description ? <Described of={whole.description} /> : undefined
  const common = { label: fieldName(language, key), description: described, error: fault(at), disabled, required: isNeeded, withAsterisk: isNeeded }
  if (isOdd(value, schema, book.defs, key)) return <Area at={at} common={common} field={{ is: 'json' }} value={value} />
  switch (field.is) {
    case 'text':
      if (key === 'vrl') return <Area at={at} common={common} field={field} value={value} rows={5} barred={missing(book, '/transform', 'vrl')} />
      return <TextInput {...common} value={written(value, field) ?? ''} onChange={(event) => set(isNeeded ? event.currentTarget.value : event.currentTarget.value || undefined)} />
    case 'number':
      return (
        <TextInput {...common} inputMode="numeric" placeholder={whole.default === undefined || whole.default === null ? undefined : String(whole.default)} value={written(value, field) ?? ''} onChange={(event) => set(entered(event.currentTarget.value, field))} />
      )
    case 'switch':
      return (
        <Checkbox label={common.label} description={described} error={common.error} disabled={disabled} checked={value === undefined || value === null ? whole.default === true : value === true} onChange={(event) => set(event.currentTarget.checked)} />
      )
    case 'choice': {
      const options = field.of.map((one) => ({ value: one, label: key === 'start_at' && (one === 'beginning' || one === 'end') ? t(one) : one }))
      const said = typeof value === 'string' ? value : ''
      const odd = said !== '' && !field.of.includes(said) ? [said] : []
      return <NativeSelect {...common} value={said} data={[...(isNeeded ? [] : [{ value: '', label: t('as_default') }]), ...options, ...odd]} onChange={(event) => set(event.currentTarget.value || undefined)} />
    }
    case 'group':
      return isNeeded || key === 'transform' ? <Group at={at} schema={whole} members={field.members} /> : <Optional at={at} schema={schema} described={described} />
    case 'kinds':
      return <Kinds at={at} field={field} described={described} isNeeded={isNeeded} />
    case 'list':
      return <Items at={at} item={field.item} described={described} />
    case 'sources':
      return written(value, field) === undefined ? <Items at={at} item={field.item} described={described} /> : <Area at={at} common={common} field={field} value={value} rows={4} />
    default:
      return <Area at={at} common={common} field={field} value={value} />
  }
}

/** What is written in lines. */
function Area({ at, common, field, value, rows = 2, barred }: { at: string; common: object; field: Field; value: Json | undefined; rows?: number; barred?: string }) {
  const { draft, onChange } = useEditing()
  const { told } = useWords()
  return (
    <Textarea
      className="mono"
      autosize
      minRows={rows}
      maxRows={24}
      spellCheck={false}
      {...common}
      {...(barred ? { disabled: true, error: told(barred) } : {})}
      value={written(value, field) ?? ''}
      onChange={(event) => onChange(withValue(draft, at, entered(event.currentTarget.value, field)))}
    />
  )
}

/** The members of a group: those that people ask for, then the others behind a word. */
export function Group({ at, schema, members }: { at: string; schema: Schema; members: Member[] }) {
  const { book, draft, fault } = useEditing()
  const { t } = useWords()
  const value = look(draft.spec, at)
  const { front, aside } = ordered(members, book.defs)
  const isSet = (member: Member) => isObject(value) && member.key in value && JSON.stringify(value[member.key]) !== JSON.stringify(meant(member.schema, book.defs).default)
  const [wasSet] = useState(aside.some(isSet))
  const kept = strangers(value, schema)
  const show = (member: Member) => <Value key={member.key} at={`${at}/${member.key}`} schema={member.schema} isNeeded={member.isNeeded} />
  return (
    <Stack gap="sm">
      {fault(at) && <Fault text={fault(at)} />}
      {front.map(show)}
      {aside.length > 0 && (
        <details className="aside" open={wasSet || aside.some((member) => fault(`${at}/${member.key}`) !== undefined) || undefined}>
          <summary>{t('more_settings', { n: aside.length })}</summary>
          <Stack gap="sm" mt="sm">
            {aside.map(show)}
          </Stack>
        </details>
      )}
      {kept.length > 0 && <Text size="sm">{t('kept_unshown', { names: kept.join(', ') })}</Text>}
    </Stack>
  )
}

/** A group that may be absent. */
function Optional({ at, schema, described }: { at: string; schema: Schema; described: ReactNode }) {
  const { book, draft, onChange, fault } = useEditing()
  const { language } = useWords()
  const key = at.split('/').at(-1) ?? ''
  const value = look(draft.spec, at)
  const isThere = isObject(value)
  const whole = meant(schema, book.defs)
  const field = fieldOf(schema, book.defs)
  const turn = () => onChange(withKind(draft, at, isThere ? 'there' : 'absent', isThere ? 'absent' : 'there', () => (isThere ? undefined : blank(schema, book.defs))))
  return (
    <Stack gap="xs">
      <Checkbox label={fieldName(language, key)} description={described} checked={isThere} onChange={turn} error={isThere ? undefined : fault(at)} />
      {isThere && field.is === 'group' && (
        <Fieldset legend={fieldName(language, key)}>
          <Group at={at} schema={whole} members={field.members} />
        </Fieldset>
      )}
    </Stack>
  )
}

/** One of several shapes: which, and its own fields. */
function Kinds({ at, field, described, isNeeded }: { at: string; field: Extract<Field, { is: 'kinds' }>; described: ReactNode; isNeeded: boolean }) {
  const { book, draft, onChange, fault } = useEditing()
  const { t, told, language } = useWords()
  const key = at.split('/').at(-1) ?? ''
  const value = look(draft.spec, at)
  const kind = kindOf(value, field.kinds)
  const unknown = value !== undefined && value !== null && !kind ? (isObject(value) && typeof value.type === 'string' ? value.type : '?') : undefined
  const choose = (name: string) => {
    const to = field.kinds.find((kind) => kind.name === name)
    const next = withKind(draft, at, kind?.name ?? unknown ?? '', name, () => (to ? turned(value, kind, to, book.defs) : undefined))
    const reader = look(next.spec, at)
    onChange(at === '/reader' && isObject(reader) ? withReader(next, reader) : next)
  }
  const why = (name: string) => missing(book, at, name)
  const lacking = field.kinds.filter((kind) => why(kind.name))
  const names = field.kinds.map((kind) => ({
    value: kind.name, label: KIND_WORDS[at]?.[kind.name] ? t(KIND_WORDS[at][kind.name] ?? 'every') : why(kind.name) ? t('not_in_build', { name: kind.name }) : kind.name, disabled: why(kind.name) !== undefined && kind !== field.kinds.find((one) => one === kindOf(value, field.kinds)),
  }))
  const none = isNeeded && kind ? [] : [{ value: '', label: '–' }]
  const members = kind ? fieldOf(kind.schema, book.defs) : undefined
  const isKeyed = kind !== undefined && kind.tag === undefined
  return (
    <Stack gap="sm">
      <NativeSelect
        label={isKeyed || KIND_WORDS[at] ? t('place_kind') : /^\d+$/.test(key) ? t('sender_type') : fieldName(language, key)}
        description={kind?.schema.description && !isKeyed ? <Described of={kind.schema.description} /> : described}
        error={fault(at)}
        value={kind?.name ?? unknown ?? ''}
        onChange={(event) => choose(event.currentTarget.value)}
        data={[...(unknown === undefined ? none : []), ...names, ...(unknown === undefined ? [] : [{ value: unknown, label: unknown, disabled: false }])]}
      />
      {lacking.length > 0 && (
        <Text size="xs" c="dimmed">
          {lacking.map((kind) => `${kind.name}: ${told(why(kind.name) ?? '')}`).join('; ')}
        </Text>
      )}
      {kind && members?.is === 'group' && <Group at={at} schema={kind.schema} members={members.members} />}
      {unknown !== undefined && <Area at={at} common={{ label: t('spec'), description: t('no_fields', { name: unknown }) }} field={{ is: 'json' }} value={value} rows={4} />}
    </Stack>
  )
}

/** Kinds that the console has words for. */
const KIND_WORDS: Record<string, Record<string, 'every' | 'spread' | 'raw'>> = { '/placement': { every: 'every', spread: 'spread' } }

/** Things of one schema: each with its fields, one more, one fewer. */
function Items({ at, item, described }: { at: string; item: Schema; described: ReactNode }) {
  const { book, draft, onChange, fault } = useEditing()
  const { t, language } = useWords()
  const key = at.split('/').at(-1) ?? ''
  const value = look(draft.spec, at)
  const items = Array.isArray(value) ? value : []
  const isSenders = at === '/senders'
  const name = (place: number) => {
    const one = items[place]
    const said = isObject(one) ? (one.name ?? one.id) : undefined
    return typeof said === 'string' && said !== '' ? said : String(place + 1)
  }
  const add = () => onChange(isSenders ? withSender(draft) : withValue(draft, at, [...items, blank(item, book.defs)]))
  // What lay on the shelf for those after it would come to lie under another one.
  const remove = (place: number) => {
    const next = withValue(draft, `${at}/${place}`, undefined)
    onChange({ ...next, shelf: Object.fromEntries(Object.entries(next.shelf).filter(([where]) => !where.startsWith(`${at}/`))) })
  }
  return (
    <Stack gap="sm">
      {!isSenders && (
        <div>
          <Text size="sm" fw={500}>
            {fieldName(language, key)}
          </Text>
          <Text size="xs" c="dimmed">
            {described}
          </Text>
        </div>
      )}
      {fault(at) && <Fault text={fault(at)} />}
      {items.slice(0, ITEMS_MAX).map((_, place) => (
        <Fieldset key={place} legend={isSenders ? t('sender_n', { n: place + 1 }) : `${fieldName(language, key)} ${place + 1}`}>
          <Stack gap="sm">
            <Value at={`${at}/${place}`} schema={item} isNeeded />
            {(!isSenders || items.length > 1) && (
              <Button size="compact-xs" variant="default" w="max-content" onClick={() => remove(place)}>
                {t('remove_sender', { name: name(place) })}
              </Button>
            )}
          </Stack>
        </Fieldset>
      ))}
      {items.length > ITEMS_MAX && <Text size="sm">{t('items_hidden', { n: items.length - ITEMS_MAX })}</Text>}
      <Button variant="default" w="max-content" onClick={add}>
        {isSenders ? t('add_sender') : t('add_item', { name: fieldName(language, key) })}
      </Button>
    </Stack>
  )
}

/** More are not edited in fields: the page would become slow, and nobody finds his. */
const ITEMS_MAX = 50

const Fault = ({ text }: { text: string | undefined }) => (
  <Text size="sm" c="var(--bad)" role="alert">
    {text}
  </Text>
)
