import { Button, Group, NativeSelect, Stack, Tabs, Text, TextInput, Title } from '@mantine/core'
import { useInfiniteQuery, useMutation, useQuery } from '@tanstack/react-query'
import { getRouteApi } from '@tanstack/react-router'
import { useEffect, useMemo, useState } from 'react'
import { api, ask, type PlanView, type SourceRow, type SourceView } from '../api/client'
import { useStream } from '../api/events'
import { findings, nodes, source as sourceQuery, sources } from '../api/queries'
import { Act, Barred, type Deed, useRoleBar } from '../components/Act'
import { Go } from '../components/Go'
import { type Column, List } from '../components/List'
import { Moves } from '../components/Moves'
import { Bars } from '../components/pictures'
import { Remote, Trouble } from '../components/Remote'
import { Status } from '../components/Status'
import { Ago, Moment } from '../components/When'
import { useMore } from '../components/useMore'
import { useWords } from '../components/words'
import { question } from '../logic/plan'
import { words } from '../logic/tags'
import { sayState } from '../text'
import { FilterInput } from './Machines'
import { Events, Figure, Panel } from './Overview'
import { SelectionInput } from './Runners'

const listRoute = getRouteApi('/sources')
const oneRoute = getRouteApi('/sources/$runner/$source')

export function Sources() {
  const { t, language } = useWords()
  const search = listRoute.useSearch()
  const navigate = listRoute.useNavigate()
  const put = (change: Partial<typeof search>) => navigate({ search: { ...search, ...change }, replace: true })
  return (
    <Stack>
      <Title order={1} size="h3">
        {t('sources')}
      </Title>
      <Tabs value={search.show ?? 'list'} onChange={(show) => put({ show: show === 'map' || show === 'plan' ? show : undefined })} keepMounted={false}>
        <Tabs.List mb="sm">
          <Tabs.Tab value="list">{t('sources')}</Tabs.Tab>
          <Tabs.Tab value="map">{t('map')}</Tabs.Tab>
          <Tabs.Tab value="plan">{t('plan')}</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="list">
          <Stack>
            <Group align="start">
              <FilterInput label={t('filter_name')} value={search.name ?? ''} onChange={(name) => put({ name })} />
              <SelectionInput label={t('runner')} value={search.runner ?? ''} onSet={(runner) => put({ runner })} />
              <SelectionInput label={`${t('owner')} – ${t('filter_selector')}`} value={search.nodes ?? ''} onSet={(nodes) => put({ nodes })} />
              <NativeSelect
                size="xs"
                label={t('state')}
                value={search.state ?? ''}
                onChange={(event) => put({ state: event.currentTarget.value || undefined })}
                data={[{ value: '', label: t('any') }, ...['collected', 'failing', 'waiting', 'waiting_for_checkpoint', 'unowned', 'no_node'].map((value) => ({ value, label: sayState(language, value) }))]}
              />
            </Group>
            <SourceList filter={{ runner: search.runner, selector: search.nodes, state: search.state }} name={search.name} />
          </Stack>
        </Tabs.Panel>
        <Tabs.Panel value="map">
          <Stack>
            <Panel title={t('map')}>
              <OwnersMap />
            </Panel>
            <Panel title={t('assignment_check')}>
              <Findings />
            </Panel>
            <Panel title={t('giants')}>
              <Giants />
            </Panel>
            <Panel title={t('moves')}>
              <Moves />
            </Panel>
          </Stack>
        </Tabs.Panel>
        <Tabs.Panel value="plan">
          <Planner />
        </Tabs.Panel>
      </Tabs>
    </Stack>
  )
}

export function SourceList({ filter, name, short }: { filter: { runner?: string; selector?: string; state?: string }; name?: string; short?: boolean }) {
  const { t, told } = useWords()
  const of = useInfiniteQuery(sources(filter))
  const { hasNextPage, isFetchingNextPage } = of
  const more = useMore(of)
  const all = useMemo(() => of.data?.pages.flatMap((page) => page.items) ?? [], [of.data])
  const rows = useMemo(() => (name ? all.filter((row) => row.id.includes(name) || row.url.includes(name)) : all), [all, name])
  const runner: Column<SourceRow> = { key: 'runner', title: t('runner'), cell: (row) => <Go to="/runners/$runner" params={{ runner: row.runner }}>{row.runner}</Go> }
  // A name is looked for here, so all pages must be here.
  const isSearching = Boolean(name) && hasNextPage
  useEffect(() => {
    if (isSearching) more()
  }, [isSearching, more])
  return (
    <Remote of={of}>
      {() => (
        <Stack gap="xs">
          <List<SourceRow>
            label={t('sources')}
            short={short}
            rows={rows}
            rowKey={(row) => `${row.runner}/${row.id}`}
            empty={isSearching ? t('loading') : all.length === 0 && !filter.state && !filter.selector ? t('no_sources') : t('nothing_matches')}
            onEnd={more}
            columns={[
              { key: 'id', title: t('source'), cell: (row) => <Go to="/sources/$runner/$source" params={{ runner: row.runner, source: row.id }}>{row.id}</Go> },
              ...(filter.runner ? [] : [runner]),
              { key: 'state', title: t('state'), width: '9em', cell: (row) => <Status word={row.state} /> },
              { key: 'owner', title: t('owner'), width: '8em', cell: (row) => (row.owner ? <Go to="/machines/$node" params={{ node: row.owner }}>{row.owner_name ?? row.owner}</Go> : '–') },
              { key: 'since', title: t('since'), width: '6em', cell: (row) => <Ago at={row.since} /> },
              { key: 'why', title: t('why'), width: 'minmax(0, 1.5fr)', cell: (row) => told(row.why ?? row.error ?? (row.state === 'no_node' ? t('why_no_node') : '')) },
              { key: 'url', title: t('url'), width: 'minmax(0, 1.8fr)', cell: (row) => row.url },
            ]}
          />
          <Group gap="sm">
            <Text size="xs" c="dimmed">
              {hasNextPage ? t('shown_of', { n: rows.length }) : t('all_shown', { n: rows.length })}
            </Text>
            {hasNextPage && (
              <Button size="compact-xs" variant="default" loading={isFetchingNextPage} onClick={more}>
                {t('more')}
              </Button>
            )}
          </Group>
        </Stack>
      )}
    </Remote>
  )
}

function OwnersMap() {
  const { t } = useWords()
  const of = useQuery(nodes)
  return (
    <Remote of={of}>
      {(rows) => (
        <Bars
          label={t('map')}
          bars={rows
            .filter((node) => node.sources > 0 || node.status === 'alive')
            .sort((a, b) => b.sources - a.sources || a.name.localeCompare(b.name))
            .map((node) => ({ key: node.id, label: node.name, value: node.sources, text: String(node.sources) }))}
        />
      )}
    </Remote>
  )
}

function Findings() {
  const { t, told } = useWords()
  const of = useQuery(findings)
  return (
    <Remote of={of}>
      {(rows) => (
        <List
          label={t('assignment_check')}
          short
          rows={rows.filter((row) => row.kind !== 'unsplittable')}
          rowKey={(row) => `${row.kind}/${row.runner}/${row.source}`}
          empty={t('assignment_ok')}
          columns={[
            { key: 'kind', title: t('state'), width: '12em', cell: (row) => <Status word={row.kind} /> },
            { key: 'source', title: t('source'), cell: (row) => <Go to="/sources/$runner/$source" params={{ runner: row.runner, source: row.source }}>{`${row.runner}/${row.source}`}</Go> },
            { key: 'detail', title: t('why'), width: 'minmax(0, 2fr)', cell: (row) => told(row.detail) },
          ]}
        />
      )}
    </Remote>
  )
}

/** Sources that no node bears. */
function Giants() {
  const { t, told } = useWords()
  const of = useQuery(findings)
  return (
    <Remote of={of}>
      {(rows) => {
        const giants = rows.filter((row) => row.kind === 'unsplittable')
        return (
          <Stack gap="xs">
            {giants.length > 0 && <Text size="sm">{t('giants_help')}</Text>}
            <List
              label={t('giants')}
              short
              rows={giants}
              rowKey={(row) => `${row.runner}/${row.source}`}
              empty={t('no_giants')}
              columns={[
                { key: 'source', title: t('source'), cell: (row) => <Go to="/sources/$runner/$source" params={{ runner: row.runner, source: row.source }}>{`${row.runner}/${row.source}`}</Go> },
                { key: 'detail', title: t('why'), width: 'minmax(0, 2fr)', cell: (row) => told(row.detail) },
              ]}
            />
          </Stack>
        )
      }}
    </Remote>
  )
}

function Planner() {
  const { t } = useWords()
  const known = useQuery(nodes)
  const [what, setWhat] = useState<'dies' | 'leaves' | 'joins'>('dies')
  const [node, setNode] = useState('')
  const [many, setMany] = useState('2')
  const [tags, setTags] = useState('')
  const [isEmpty, setEmpty] = useState(false)
  const body = () => question(what, node, Math.min(100, Math.max(1, Math.trunc(Number(many)) || 1)), words(tags))
  const asked = useMutation({ mutationFn: () => ask(api.POST('/v1/plan', { body: body() })) })
  const go = () => {
    setEmpty(what !== 'joins' && node === '')
    if (what === 'joins' || node !== '') asked.mutate()
  }
  return (
    <Stack>
      <Remote of={known}>
        {(rows) => (
          <form onSubmit={(event) => (event.preventDefault(), go())}>
            <Group align="start">
              <NativeSelect
                label={t('plan_change')}
                value={what}
                onChange={(event) => setWhat(event.currentTarget.value as typeof what)}
                data={[
                  { value: 'dies', label: t('plan_dies') },
                  { value: 'leaves', label: t('plan_leaves') },
                  { value: 'joins', label: t('plan_joins') },
                ]}
              />
              {what === 'joins' ? (
                <>
                  <TextInput type="number" label={t('plan_how_many')} min={1} max={100} value={many} onChange={(event) => setMany(event.currentTarget.value)} />
                  <TextInput label={t('tags')} placeholder="web, zone-a" value={tags} onChange={(event) => setTags(event.currentTarget.value)} />
                </>
              ) : (
                <NativeSelect
                  label={t('node')}
                  value={node}
                  error={isEmpty && t('plan_nobody')}
                  onChange={(event) => (setNode(event.currentTarget.value), setEmpty(false))}
                  data={[{ value: '', label: '–' }, ...rows.filter((row) => row.status === 'alive').map((row) => ({ value: row.id, label: row.name }))]}
                />
              )}
              <Button type="submit" mt={25} loading={asked.isPending}>
                {t('plan_ask')}
              </Button>
            </Group>
          </form>
        )}
      </Remote>
      {!asked.data && !asked.error && (
        <Text size="sm" c="dimmed">
          {t('plan_help')}
        </Text>
      )}
      {asked.error && <Trouble error={asked.error} />}
      {asked.data && <Planned plan={asked.data} />}
    </Stack>
  )
}

function Planned({ plan }: { plan: PlanView }) {
  const { t, language } = useWords()
  const round = (value: number | null | undefined) => value?.toFixed(2) ?? '–'
  return (
    <Stack>
      <Group className="figures" role="status">
        <Text fw={600}>{t('plan_moves', { n: plan.moves_total })}</Text>
        <Text>{t('plan_unevenness', { before: round(plan.unevenness_before), after: round(plan.unevenness_after) })}</Text>
        {plan.unowned_after > 0 && <Text c="var(--bad)">{t('plan_unowned', { n: plan.unowned_after })}</Text>}
      </Group>
      <Panel title={`${t('sources')}: ${t('plan_before')} / ${t('plan_after')}`}>
        <Bars
          label={`${t('plan_before')} / ${t('plan_after')}`}
          bars={[...plan.nodes].sort((a, b) => a.node_name.localeCompare(b.node_name)).map((share) => ({
            key: share.node, label: share.node_name, before: share.sources_before, value: share.sources_after, text: `${share.sources_before} → ${share.sources_after}`,
          }))}
        />
      </Panel>
      <List
        label={t('plan_moves', { n: plan.moves_total })}
        short
        rows={plan.moves}
        rowKey={(move) => `${move.runner}/${move.source}`}
        empty={t('plan_still')}
        columns={[
          { key: 'source', title: t('source'), cell: (move) => `${move.runner}/${move.source}` },
          { key: 'from', title: t('from'), cell: (move) => move.from_name ?? move.from ?? '–' },
          { key: 'to', title: t('to'), cell: (move) => move.to_name ?? move.to ?? '–' },
          { key: 'why', title: t('why'), cell: (move) => `${sayState(language, move.why)} (${move.certain ? t('certain') : t('likely')})` },
        ]}
      />
    </Stack>
  )
}

export function Source() {
  const { runner, source } = oneRoute.useParams()
  const of = useQuery(sourceQuery(runner, source))
  return <Remote of={of}>{(view) => <SourcePage view={view} />}</Remote>
}

function SourcePage({ view }: { view: SourceView }) {
  const { t, told } = useWords()
  const bar = useRoleBar()
  const [deed, setDeed] = useState<Deed>()
  const events = useStream().events.filter((event) => event.runner === view.runner && (event.source === view.id || (event.sources && event.node === view.owner))).slice(-20).reverse()
  const places = (of: SourceView['held']) =>
    of?.map((place) => `${place.file.slice(0, 12)} #${place.lineage}: ${Object.entries(place.offsets).map(([sender, offset]) => `${sender} ${offset}`).join(', ')}`).join('; ') ?? '–'
  return (
    <Stack>
      <Go to="/sources" size="sm">
        ← {t('sources')}
      </Go>
      <Group justify="space-between">
        <Title order={1} size="h3">
          {view.runner}/{view.id}
        </Title>
        <Barred
          barred={bar}
          onClick={() =>
            setDeed({
              title: `${t('rewind')}: ${view.runner}/${view.id}`, loses: t('rewind_loses'), danger: true, selection: 'all',
              run: ({ dry_run, reason, expected }) =>
                ask(
                  api.POST('/v1/runners/{runner}/{verb}', {
                    params: { path: { runner: view.runner, verb: 'rewind' }, query: { dry_run } },
                    body: { nodes: 'all', sources: [view.id], reason, expected_count: expected },
                  }),
                ),
            })
          }
        >
          {t('rewind')}
        </Barred>
      </Group>
      <Panel title={t('owner')}>
        <Group className="figures">
          <Figure title={t('state')} text={<Status word={view.state} />} />
          <Figure title={t('owner')} text={view.owner ? <Go to="/machines/$node" params={{ node: view.owner }}>{view.owner_name ?? view.owner}</Go> : '–'} />
          <Figure title={t('why')} text={told(view.why ?? (view.state === 'no_node' ? t('why_no_node') : '–'))} />
          <Figure title={t('since')} text={<Moment at={view.since} />} />
          <Figure title={t('home')} text={view.home ?? '–'} />
          <Figure title={t('witnesses')} text={view.witnesses.join(', ') || '–'} />
          <Figure title={t('epoch')} text={view.epoch ?? '–'} />
          <Figure title={t('url')} text={view.url} />
          <Figure title={t('acknowledged')} text={places(view.acknowledged)} />
          <Figure title={t('held')} text={places(view.held)} />
        </Group>
        {[view.unanswered, view.last_error ?? view.error].map((trouble) => trouble && (
          <Text key={trouble} size="sm" mt="sm" c="var(--bad)">
            {told(trouble)}
          </Text>
        ))}
      </Panel>
      <Panel title={t('moved_lately')}>
        <Events rows={events} empty={t('no_source_events')} />
      </Panel>
      <Act deed={deed} onClose={() => setDeed(undefined)} />
    </Stack>
  )
}
