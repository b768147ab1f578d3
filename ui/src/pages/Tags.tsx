import { Button, Checkbox, Group, Modal, NativeSelect, Stack, Text, TextInput, Title } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { api, ask, type RunnerRow, type RunnerVerb, type TagRow } from '../api/client'
import { nodes, runners, tags } from '../api/queries'
import { Act, Barred, type Deed, useRoleBar } from '../components/Act'
import { Go, GoButton } from '../components/Go'
import { List } from '../components/List'
import { Remote } from '../components/Remote'
import { Status } from '../components/Status'
import { useWords } from '../components/words'
import { hasQueue } from '../logic/draft'
import { NAME } from '../logic/tags'

export function Tags() {
  const { t } = useWords()
  const bar = useRoleBar()
  const of = useQuery(tags)
  const names = new Map((useQuery(nodes).data ?? []).map((node) => [node.id, node.name]))
  const [acting, setActing] = useState<TagRow>()
  const [renaming, setRenaming] = useState<string>()
  const [deed, setDeed] = useState<Deed>()
  return (
    <Stack>
      <Title order={1} size="h3">
        {t('tags')}
      </Title>
      <Remote of={of}>
        {(rows) => (
          <List
            label={t('tags')}
            rows={rows}
            rowKey={(row) => row.tag}
            empty={t('no_tags')}
            columns={[
              { key: 'tag', title: t('name'), cell: (row) => <Go to="/machines" search={{ tag: row.tag }}>{row.tag}</Go> },
              { key: 'status', title: t('worst_status'), width: '9em', cell: (row) => <Status word={row.worst_status} /> },
              { key: 'nodes', title: t('machines'), width: 'minmax(0, 2fr)', cell: (row) => row.nodes.map((id) => names.get(id) ?? id).sort().join(', ') },
              { key: 'runners', title: t('runners_of_tag'), width: 'minmax(0, 1.5fr)', cell: (row) => <RunnersOf tag={row.tag} /> },
              {
                key: 'actions', title: t('actions'), width: '27em',
                cell: (row) => (
                  <Group gap="xs">
                    {bar ? (
                      <Barred barred={bar}>{t('add_runner_to_tag')}</Barred>
                    ) : (
                      <GoButton to="/create" search={{ tag: row.tag }} size="compact-sm" variant="default">
                        {t('add_runner_to_tag')}
                      </GoButton>
                    )}
                    <Barred barred={bar} onClick={() => setRenaming(row.tag)}>
                      {t('rename')}
                    </Barred>
                    <Barred barred={bar} onClick={() => setActing(row)}>
                      {t('act_on_runners')}
                    </Barred>
                  </Group>
                ),
              },
            ]}
          />
        )}
      </Remote>
      {acting && (
        <Choose
          tag={acting.tag}
          onClose={() => setActing(undefined)}
          onAsk={(next) => {
            setActing(undefined)
            setDeed(next)
          }}
        />
      )}
      {renaming !== undefined && (
        <Rename
          tag={renaming}
          onClose={() => setRenaming(undefined)}
          onAsk={(next) => {
            setRenaming(undefined)
            setDeed(next)
          }}
        />
      )}
      <Act deed={deed} onClose={() => setDeed(undefined)} />
    </Stack>
  )
}

function RunnersOf({ tag }: { tag: string }) {
  const rows = useQuery({ ...runners(tag), refetchInterval: 20_000 }).data
  if (!rows) return '…'
  if (rows.length === 0) return '–'
  return rows.map((row, at) => (
    <span key={row.name}>
      {at > 0 && ', '}
      <Go to="/runners/$runner" params={{ runner: row.name }}>
        {row.name}
      </Go>
    </span>
  ))
}

const VERBS = { start: 'start_loses', stop: 'stop_loses', restart: 'restart_loses', rewind: 'rewind_loses', 'drop-queue': 'drop_loses', 'clear-counters': 'clear_loses', remove: 'remove_loses', follow: 'follow_loses', delete: 'delete_several_loses' } as const satisfies Partial<Record<RunnerVerb, string>>
type Verb = keyof typeof VERBS

/** Which runners of a tag, and what to do with them. */
function Choose({ tag, onAsk, onClose }: { tag: string; onAsk: (deed: Deed) => void; onClose: () => void }) {
  const { t } = useWords()
  const of = useQuery(runners(tag))
  const [chosen, setChosen] = useState<string[]>([])
  const [verb, setVerb] = useState<Verb>('start')
  // A runner is deleted as a whole, on its nodes without this tag too.
  const nodes = verb === 'delete' ? 'all' : tag
  const without = (rows: RunnerRow[]) => rows.filter((row) => chosen.includes(row.name) && !hasQueue(row.reader)).map((row) => row.name)
  const barOf = (rows: RunnerRow[]) => {
    if (chosen.length === 0) return t('choose_first')
    const names = verb === 'drop-queue' ? without(rows) : []
    return names.length > 0 ? t('no_queue_of', { names: names.join(', ') }) : undefined
  }
  const go = () =>
    onAsk({
      title: `${t(verb)}: ${chosen.join(', ')} @ ${nodes}`,
      loses: t(VERBS[verb]),
      danger: ['stop', 'remove', 'rewind', 'drop-queue', 'delete'].includes(verb),
      selection: nodes,
      run: ({ dry_run, reason, expected }) =>
        ask(api.POST('/v1/operations', { params: { query: { dry_run } }, body: { runners: chosen, verb, nodes, reason, expected_count: expected } })),
    })
  return (
    <Modal opened onClose={onClose} title={`${t('act_on_runners')} ${tag}`} closeButtonProps={{ 'aria-label': t('close') }}>
      <Remote of={of}>
        {(rows) =>
          rows.length === 0 ? (
            <Text>{t('no_runner_here')}</Text>
          ) : (
            <Stack>
              <Text size="sm">{t('choose_runners', { tag })}</Text>
              <Checkbox.Group value={chosen} onChange={setChosen} label={t('runners')}>
                <Stack gap="xs" mt="xs">
                  {rows.map((row) => (
                    <Checkbox key={row.name} value={row.name} label={row.name} />
                  ))}
                </Stack>
              </Checkbox.Group>
              <NativeSelect
                label={t('verb')}
                value={verb}
                onChange={(event) => setVerb(event.currentTarget.value as Verb)}
                data={(Object.keys(VERBS) as Verb[]).map((value) => ({ value, label: t(value) }))}
              />
              <Group justify="flex-end">
                <Barred size="sm" variant="filled" barred={barOf(rows)} onClick={go}>
                  {t('next')}
                </Barred>
              </Group>
            </Stack>
          )
        }
      </Remote>
    </Modal>
  )
}

function Rename({ tag, onAsk, onClose }: { tag: string; onAsk: (deed: Deed) => void; onClose: () => void }) {
  const { t } = useWords()
  const [to, setTo] = useState('')
  const [wrong, setWrong] = useState(false)
  const go = () => {
    setWrong(!NAME.test(to))
    if (!NAME.test(to)) return
    onAsk({
      title: `${t('rename')}: ${tag} → ${to}`,
      loses: t('rename_loses', { tag, to }),
      run: ({ dry_run, reason }) => ask(api.POST('/v1/tags/{tag}/rename', { params: { path: { tag }, query: { dry_run } }, body: { to, reason } })),
    })
  }
  return (
    <Modal opened onClose={onClose} title={`${t('rename')} ${tag}`} closeButtonProps={{ 'aria-label': t('close') }}>
      <form onSubmit={(event) => (event.preventDefault(), go())}>
        <Stack>
          <TextInput
            data-autofocus
            label={t('rename_to', { tag })}
            value={to}
            error={wrong && t('tags_bad', { tag: to })}
            onChange={(event) => (setTo(event.currentTarget.value), setWrong(false))}
          />
          <Group justify="flex-end">
            <Button type="submit">{t('next')}</Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  )
}
