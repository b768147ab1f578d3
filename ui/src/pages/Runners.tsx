import { Group, NativeSelect, Stack, Tabs, Text, TextInput, Title } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { getRouteApi, useNavigate } from '@tanstack/react-router'
import { useState } from 'react'
import { api, ask, type InstanceRow, type RunnerRow, type RunnerVerb, type RunnerView } from '../api/client'
import { useStream } from '../api/events'
import { instances, runner as runnerQuery, runners } from '../api/queries'
import { Act, Barred, type Deed, useRoleBar } from '../components/Act'
import { Go, GoButton } from '../components/Go'
import { type Column, List } from '../components/List'
import { Pipeline } from '../components/pictures'
import { Remote, useReason } from '../components/Remote'
import { Status } from '../components/Status'
import { Spark, Trends } from '../components/Trends'
import { useWords } from '../components/words'
import { hasQueue, isMovable } from '../logic/draft'
import { bytes, count } from '../logic/format'
import { sayState } from '../text'
import { FilterInput } from './Machines'
import { InstanceDetail } from './Instance'
import { Events, Figure, Panel } from './Overview'
import { Revisions } from './Revisions'
import { SourceList } from './Sources'
import { Tap } from './Tap'

const listRoute = getRouteApi('/runners')
const oneRoute = getRouteApi('/runners/$runner')

export function Runners() {
  const { t, told, language } = useWords()
  const search = listRoute.useSearch()
  const navigate = listRoute.useNavigate()
  const bar = useRoleBar()
  const reason = useReason()
  const selector = search.nodes
  const of = useQuery({ ...runners(selector), placeholderData: (before: RunnerRow[] | undefined) => before })
  const work = useQuery({ ...instances({ selector }), placeholderData: (before: InstanceRow[] | undefined) => before })
  const put = (change: Partial<typeof search>) => navigate({ search: { ...search, ...change }, replace: true })
  const columns: Column<RunnerRow>[] = [
    { key: 'name', title: t('name'), width: 'minmax(0, 1.3fr)', cell: (row) => <Go to="/runners/$runner" params={{ runner: row.name }}>{row.name}</Go> },
    { key: 'desired', title: t('desired'), width: '7em', cell: (row) => <Status word={row.desired} /> },
    { key: 'instances', title: t('instances'), cell: (row) => <Tally counts={row.instances} /> },
    { key: 'reader', title: t('reader'), width: '5em', cell: (row) => row.reader },
    { key: 'placement', title: t('placement'), cell: (row) => row.placement },
    { key: 'sources', title: t('sources'), width: '5em', cell: (row) => row.sources },
    { key: 'rates', title: t('bytes_rate'), width: '7em', cell: (row) => `${bytes(total(work.data, row.name, 'bytes_per_s'))}/s` },
    { key: 'trend', title: t('trend'), width: '90px', cell: (row) => <Spark runner={row.name} /> },
    { key: 'lag', title: t('lag'), width: '6em', cell: (row) => bytes(total(work.data, row.name, 'lag_bytes')) },
    { key: 'error', title: t('last_error'), width: 'minmax(0, 1.5fr)', cell: (row) => told(row.error ?? row.rollout ?? '') },
  ]
  const named = (name: string) => !search.name || name.includes(search.name)
  const selectorError = of.error && selector ? reason(of.error) : undefined
  return (
    <Stack>
      <Group justify="space-between">
        <Title order={1} size="h3">
          {t('runners')}
        </Title>
        {bar ? <Barred barred={bar}>{t('create')}</Barred> : <GoButton to="/create">{t('create')}</GoButton>}
      </Group>
      <Group align="start">
        <FilterInput label={t('filter_name')} value={search.name ?? ''} onChange={(name) => put({ name })} />
        <SelectionInput label={t('filter_selector')} description={t('filter_selector_help')} value={selector ?? ''} error={selectorError} onSet={(nodes) => put({ nodes })} />
        <NativeSelect
          size="xs"
          label={t('state')}
          value={search.state ?? ''}
          onChange={(event) => put({ state: event.currentTarget.value || undefined })}
          data={[{ value: '', label: t('any') }, ...['running', 'starting', 'paused', 'failed', 'stopped', 'waiting for node'].map((value) => ({ value, label: sayState(language, value) }))]}
        />
      </Group>
      <Tabs value={search.show ?? 'runners'} onChange={(show) => put({ show: show === 'instances' ? 'instances' : undefined })}>
        <Tabs.List mb="sm">
          <Tabs.Tab value="runners">{t('runners')}</Tabs.Tab>
          <Tabs.Tab value="instances">{t('instances')}</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="runners">
          <Remote of={of}>
            {(rows) => (
              <List
                label={t('runners')}
                columns={columns}
                rows={rows.filter((row) => named(row.name) && (!search.state || search.state in row.instances))}
                rowKey={(row) => row.name}
                empty={rows.length === 0 && !selector ? t('no_runners') : t('nothing_matches')}
              />
            )}
          </Remote>
        </Tabs.Panel>
        <Tabs.Panel value="instances">
          <Remote of={work}>
            {(rows) => <InstanceList rows={rows.filter((row) => named(row.runner) && (!search.state || row.state === search.state))} />}
          </Remote>
        </Tabs.Panel>
      </Tabs>
    </Stack>
  )
}

/** A selection is sent when it is whole: on Enter, or on leaving the field. What was typed stays, whatever the node says of it. */
export function SelectionInput({ label, description, value, error, onSet }: { label: string; description?: string; value: string; error?: string; onSet: (value: string | undefined) => void }) {
  const [typed, setTyped] = useState(value)
  const [of, setOf] = useState(value)
  // The address has another one: by the menu, or by going back.
  if (of !== value) {
    setOf(value)
    setTyped(value)
  }
  const set = () => typed !== value && onSet(typed.trim() || undefined)
  return (
    <form onSubmit={(event) => (event.preventDefault(), set())}>
      <TextInput size="xs" label={label} description={description} inputWrapperOrder={['label', 'input', 'error', 'description']} value={typed} error={error} onChange={(event) => setTyped(event.currentTarget.value)} onBlur={set} />
    </form>
  )
}

const total = (rows: InstanceRow[] | undefined, runner: string, key: 'bytes_per_s' | 'lag_bytes' | 'records_per_s') =>
  (rows ?? []).filter((row) => row.runner === runner).reduce((sum, row) => sum + row[key], 0)

function Tally({ counts }: { counts: Record<string, number> }) {
  const entries = Object.entries(counts)
  if (entries.length === 0) return '–'
  return (
    <Group gap="xs">
      {entries.map(([word, n]) => (
        <Group gap={4} key={word}>
          <Status word={word} /> {n}
        </Group>
      ))}
    </Group>
  )
}

/** `of`: what all rows have in common, and needs no column. */
export function InstanceList({ rows, short, of }: { rows: InstanceRow[]; short?: boolean; of?: 'runner' | 'node' }) {
  const { t, told, language } = useWords()
  const runner: Column<InstanceRow> = { key: 'runner', title: t('runner'), cell: (row) => <Go to="/runners/$runner" params={{ runner: row.runner }}>{row.runner}</Go> }
  const node: Column<InstanceRow> = { key: 'node', title: t('node'), cell: (row) => <Go to="/machines/$node" params={{ node: row.node }}>{row.node_name}</Go> }
  return (
    <List
      label={t('instances')}
      short={short}
      rows={[...rows].sort((a, b) => a.runner.localeCompare(b.runner) || a.node_name.localeCompare(b.node_name))}
      rowKey={(row) => `${row.runner}@${row.node}`}
      empty={t('no_instances')}
      columns={[
        ...(of === 'runner' ? [] : [runner]),
        ...(of === 'node' ? [] : [node]),
        { key: 'state', title: t('state'), width: '8em', cell: (row) => <Status word={row.state} /> },
        { key: 'records', title: t('records_rate'), width: '6em', cell: (row) => count(row.records_per_s, language) },
        { key: 'bytes', title: t('bytes_rate'), width: '7em', cell: (row) => `${bytes(row.bytes_per_s)}/s` },
        { key: 'total', title: t('records'), width: '7em', cell: (row) => count(row.records, language) },
        { key: 'lag', title: t('lag'), width: '6em', cell: (row) => bytes(row.lag_bytes) },
        { key: 'errors', title: t('errors'), width: '5em', cell: (row) => count(row.errors, language) },
        { key: 'dead', title: t('dead_letters'), width: '6em', cell: (row) => count(row.dead_lettered, language) },
        { key: 'error', title: t('last_error'), width: 'minmax(0, 2.5fr)', cell: (row) => told(row.error ?? '') },
      ]}
    />
  )
}

export function Runner() {
  const { runner } = oneRoute.useParams()
  const of = useQuery(runnerQuery(runner))
  return <Remote of={of}>{(view) => <RunnerPage view={view} />}</Remote>
}

const VERBS = [
  { verb: 'start', loses: 'start_loses', danger: false },
  { verb: 'stop', loses: 'stop_loses', danger: true },
  { verb: 'restart', loses: 'restart_loses', danger: false },
  { verb: 'rewind', loses: 'rewind_loses', danger: true },
  { verb: 'drop-queue', loses: 'drop_loses', danger: true },
  { verb: 'clear-counters', loses: 'clear_loses', danger: false },
  { verb: 'remove', loses: 'remove_loses', danger: true },
  { verb: 'follow', loses: 'follow_loses', danger: false },
] as const satisfies readonly { verb: RunnerVerb; loses: string; danger: boolean }[]

function RunnerPage({ view }: { view: RunnerView }) {
  const { t, told, language } = useWords()
  const navigate = useNavigate()
  const { node } = oneRoute.useSearch()
  const bar = useRoleBar()
  const [deed, setDeed] = useState<Deed>()
  const [selection, setSelection] = useState('all')
  const [gone, setGone] = useState(false)
  const work = useQuery(instances({ runner: view.name }))
  const events = useStream().events.filter((event) => event.runner === view.name).slice(-12).reverse()
  const rate = `${bytes(total(work.data, view.name, 'bytes_per_s'))}/s`
  const on = (verb: RunnerVerb) => (said: { dry_run: boolean; reason?: string; expected?: number }) =>
    ask(
      api.POST('/v1/runners/{runner}/{verb}', {
        params: { path: { runner: view.name, verb }, query: { dry_run: said.dry_run } },
        body: { nodes: selection, reason: said.reason, expected_count: said.expected },
      }),
    )
  return (
    <Stack>
      <Go to="/runners" size="sm">
        ← {t('runners')}
      </Go>
      <Group justify="space-between">
        <Title order={1} size="h3">
          {view.name}
        </Title>
        <Group gap="xs" align="end">
          <SelectionInput label={t('on_nodes')} value={selection} onSet={(value) => setSelection(value ?? 'all')} />
          {VERBS.map(({ verb, loses, danger }) => (
            <Barred
              key={verb}
              barred={bar ?? (verb === 'drop-queue' && !hasQueue(view.spec.reader.type) ? t('no_queue') : undefined)}
              onClick={() => setDeed({ title: `${t(verb)}: ${view.name} @ ${selection}`, loses: t(loses), danger, selection, run: on(verb) })}
            >
              {t(verb)}
            </Barred>
          ))}
          <Barred barred={bar} onClick={() => void navigate({ to: '/runners/$runner/edit', params: { runner: view.name } })}>
            {t('edit')}
          </Barred>
          <Barred
            barred={bar}
            onClick={() => {
              setGone(true)
              setDeed({
                title: `${t('delete')} ${view.name}`, loses: t('delete_loses', { n: view.sources }), danger: true,
                run: ({ dry_run, reason }) => ask(api.DELETE('/v1/runners/{runner}', { params: { path: { runner: view.name }, query: { dry_run, reason } } })),
              })
            }}
          >
            {t('delete')}
          </Barred>
        </Group>
      </Group>
      <Panel title={t('pipeline')}>
        <Stack>
          <Pipeline spec={view.spec} read={rate} sent={`${count(total(work.data, view.name, 'records_per_s'), language)} ${t('records_rate')}`} />
          <Group className="figures">
            <Figure title={t('desired')} text={<Status word={view.desired} />} />
            <Figure title={t('placement')} text={view.placement} />
            <Figure title={t('records_rate')} text={count(total(work.data, view.name, 'records_per_s'), language)} />
            <Figure title={t('lag')} text={bytes(total(work.data, view.name, 'lag_bytes'))} />
            <Figure title={t('revision')} text={view.revision} />
          </Group>
          {view.rollout && <Text size="sm">{told(view.rollout)}</Text>}
          {view.error && (
            <Text size="sm" c="var(--bad)">
              {told(view.error)}
            </Text>
          )}
        </Stack>
      </Panel>
      <Panel title={t('trends')}>
        <Trends runner={view.name} />
      </Panel>
      <Panel title={t('instances')}>
        <Remote of={work}>{(rows) => <InstanceList rows={rows} short of="runner" />}</Remote>
      </Panel>
      <Panel title={t('instance_detail')}>
        <Remote of={work}>
          {(rows) => (
            <InstanceDetail rows={rows} node={node} onNode={(node) => void navigate({ to: '/runners/$runner', params: { runner: view.name }, search: { node }, replace: true, resetScroll: false })} />
          )}
        </Remote>
      </Panel>
      {(isMovable(view.spec.reader) || view.sources > 0) && (
        <Panel title={t('sources')}>
          <SourceList filter={{ runner: view.name }} short />
        </Panel>
      )}
      <Panel title={t('tap')}>{bar ? bar : <Tap runner={view.name} />}</Panel>
      <Panel title={t('live_events')}>
        <Events rows={events} empty={t('no_events')} />
      </Panel>
      <Panel title={t('revisions')}>
        <Revisions view={view} />
      </Panel>
      <Panel title={t('spec')}>
        <pre tabIndex={0} style={{ overflow: 'auto', maxHeight: 360, fontSize: 13 }}>
          {JSON.stringify(view.spec, null, 2)}
        </pre>
      </Panel>
      <Act
        deed={deed}
        onClose={() => {
          setDeed(undefined)
          setGone(false)
          if (gone && work.data?.length === 0) void navigate({ to: '/runners' })
        }}
      />
    </Stack>
  )
}
