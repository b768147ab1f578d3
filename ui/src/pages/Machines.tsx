import { Button, Group, Modal, NativeSelect, Stack, Text, TextInput, Title } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { getRouteApi } from '@tanstack/react-router'
import { useState } from 'react'
import { api, ask, type NodeRow } from '../api/client'
import { useStream } from '../api/events'
import { instances, nodes } from '../api/queries'
import { Act, Barred, type Deed, type Said, useRoleBar } from '../components/Act'
import { Go } from '../components/Go'
import { type Column, List } from '../components/List'
import { Meter } from '../components/pictures'
import { Remote } from '../components/Remote'
import { Status } from '../components/Status'
import { Ago, Moment } from '../components/When'
import { useWords } from '../components/words'
import { bytes, factor } from '../logic/format'
import { notAName, words } from '../logic/tags'
import { sayState, type Words } from '../text'
import { Events, Figure, isNews, Panel } from './Overview'
import { InstanceList } from './Runners'

const listRoute = getRouteApi('/machines')
const nodeRoute = getRouteApi('/machines/$node')

/** A filter of a list that lives in the URL. */
export function FilterInput({ label, value, onChange, description }: { label: string; value: string; onChange: (value: string | undefined) => void; description?: string }) {
  return <TextInput size="xs" label={label} description={description} value={value} onChange={(event) => onChange(event.currentTarget.value || undefined)} type="search" />
}

export function Machines() {
  const { t, language } = useWords()
  const search = listRoute.useSearch()
  const navigate = listRoute.useNavigate()
  const of = useQuery(nodes)
  const bar = useRoleBar()
  const [tagging, setTagging] = useState<NodeRow>()
  const [deed, setDeed] = useState<Deed>()
  const columns: Column<NodeRow>[] = [
    {
      key: 'name', title: t('name'),
      cell: (node) => (
        <Group gap="xs">
          <Go to="/machines/$node" params={{ node: node.id }}>
            {node.name}
          </Go>
          {node.me && <Text size="xs">{t('here')}</Text>}
        </Group>
      ),
    },
    { key: 'status', title: t('status'), width: '6em', cell: (node) => <Status word={node.status} /> },
    { key: 'phase', title: t('phase'), width: '6em', cell: (node) => <Status word={node.phase} /> },
    {
      key: 'tags', title: t('tags'), width: 'minmax(0, 1.8fr)',
      cell: (node) => (
        <Group gap={6}>
          <span>{node.tags.join(', ') || '–'}</span>
          <Barred size="compact-xs" barred={bar} label={t('edit_tags_of', { node: node.name })} onClick={() => setTagging(node)}>
            {t('edit')}
          </Barred>
        </Group>
      ),
    },
    {
      key: 'load', title: t('load'), width: '5em',
      cell: (node) => (
        <>
          {node.load_pct} %
          <Meter pct={node.load_pct} />
        </>
      ),
    },
    { key: 'host', title: t('machine_load'), width: '7.5em', cell: (node) => load(node) },
    { key: 'capacity', title: t('capacity'), width: '5em', cell: (node) => `×${relative(node, of.data ?? [])}` },
    { key: 'sources', title: t('sources'), width: '4.5em', cell: (node) => node.sources },
    { key: 'runners', title: t('runners'), width: '5em', cell: (node) => node.runners },
    { key: 'heard', title: t('last_heard'), width: '5em', cell: (node) => (node.me ? '–' : <Ago at={node.last_heard} />) },
    { key: 'version', title: t('version'), width: '5em', cell: (node) => node.version ?? '–' },
    {
      key: 'actions', title: t('actions'), width: '5.5em',
      cell: (node) => (
        <Group gap={4}>
          {deedsOn(node, t)
            .filter(({ verb }) => verb !== (node.drain == null ? 'undrain' : 'drain'))
            .map(({ verb, barred, deed }) => (
              <Barred key={verb} size="compact-xs" barred={bar ?? barred} label={deed.title} onClick={() => setDeed(deed)}>
                {t(verb)}
              </Barred>
            ))}
        </Group>
      ),
    },
  ]
  const matches = (node: NodeRow) =>
    (!search.name || node.name.includes(search.name)) && (!search.tag || node.tags.includes(search.tag)) && (!search.status || node.status === search.status)
  return (
    <Stack>
      <Title order={1} size="h3">
        {t('machines')}
      </Title>
      <Group align="end">
        <FilterInput label={t('filter_name')} value={search.name ?? ''} onChange={(name) => navigate({ search: { ...search, name }, replace: true })} />
        <FilterInput label={t('tags')} value={search.tag ?? ''} onChange={(tag) => navigate({ search: { ...search, tag }, replace: true })} />
        <NativeSelect
          size="xs"
          label={t('status')}
          value={search.status ?? ''}
          onChange={(event) => navigate({ search: { ...search, status: event.currentTarget.value || undefined }, replace: true })}
          data={[{ value: '', label: t('any') }, ...['alive', 'suspect', 'down', 'left'].map((value) => ({ value, label: sayState(language, value) }))]}
        />
      </Group>
      <Remote of={of}>
        {(rows) => (
          <List label={t('machines')} columns={columns} rows={rows.filter(matches).sort((a, b) => a.name.localeCompare(b.name))} rowKey={(node) => node.id} empty={rows.length === 0 ? t('no_nodes') : t('nothing_matches')} />
        )}
      </Remote>
      {tagging && <Tagging key={tagging.id} node={of.data?.find((node) => node.id === tagging.id) ?? tagging} onClose={() => setTagging(undefined)} />}
      <Act deed={deed} onClose={() => setDeed(undefined)} />
    </Stack>
  )
}

const load = ({ host }: NodeRow) => (host ? `${host.cpu_pct} / ${host.memory_pct} / ${host.disk_pct}\u00a0%` : '–')

/** What can be done with a node, or why it cannot. */
function deedsOn(node: NodeRow, t: Words): { verb: 'drain' | 'undrain' | 'forget'; barred: string | undefined; deed: Deed }[] {
  const path = { node: node.id }
  const drains = node.drain != null
  const isGone = node.status === 'down' || node.status === 'left'
  const turn = (verb: 'drain' | 'undrain') => ({ dry_run, reason }: Said) => ask(api.POST(`/v1/nodes/{node}/${verb}`, { params: { path, query: { dry_run, reason } } }))
  const forget = ({ dry_run, reason }: Said) => ask(api.DELETE('/v1/nodes/{node}', { params: { path, query: { dry_run, reason } } }))
  const deed = (verb: 'drain' | 'undrain' | 'forget', rest: Omit<Deed, 'title'>): Deed => ({ title: `${t(verb)} ${node.name}`, ...rest })
  return [
    {
      verb: 'drain', barred: drains ? t('already_draining') : node.status === 'alive' ? undefined : t('drain_barred'),
      deed: deed('drain', { loses: t('drain_loses'), run: turn('drain') }),
    },
    { verb: 'undrain', barred: drains ? undefined : t('not_draining'), deed: deed('undrain', { loses: t('undrain_loses'), run: turn('undrain') }) },
    { verb: 'forget', barred: isGone ? undefined : t('forget_barred'), deed: deed('forget', { loses: t('forget_loses'), danger: true, run: forget }) },
  ]
}

/** A node's capacity against the middle one's. */
function relative(node: NodeRow, rows: NodeRow[]): string {
  const sorted = rows.map((row) => row.capacity).sort((a, b) => a - b)
  return factor(node.capacity, sorted[Math.floor(sorted.length / 2)] ?? node.capacity).toFixed(1)
}

export function Machine() {
  const { t } = useWords()
  const { node: id } = nodeRoute.useParams()
  const one = useQuery({
    queryKey: ['nodes', id],
    queryFn: () => ask(api.GET('/v1/nodes/{node}', { params: { path: { node: id } } })),
    refetchInterval: 5000,
  })
  return <Remote of={one}>{(node) => <MachinePage node={node} title={t('machines')} />}</Remote>
}

function MachinePage({ node, title }: { node: NodeRow; title: string }) {
  const { t, told } = useWords()
  const bar = useRoleBar()
  const [deed, setDeed] = useState<Deed>()
  const [tagging, setTagging] = useState(false)
  const work = useQuery(instances({ selector: `id=${node.id}` }))
  const events = useStream().events.filter((event) => event.node === node.id && isNews(event)).slice(-12).reverse()
  return (
    <Stack>
      <Go to="/machines" size="sm">
        ← {title}
      </Go>
      <Group justify="space-between">
        <Title order={1} size="h3">
          {node.name}
        </Title>
        <Group gap="xs">
          <Barred barred={bar} onClick={() => setTagging(true)}>
            {t('edit_tags')}
          </Barred>
          {deedsOn(node, t).map(({ verb, barred, deed }) => (
            <Barred key={verb} barred={bar ?? barred} onClick={() => setDeed(deed)}>
              {t(verb)}
            </Barred>
          ))}
        </Group>
      </Group>
      <Panel title={t('status')}>
        <Group className="figures">
          <Figure title={t('status')} text={<Status word={node.status} />} />
          <Figure title={t('phase')} text={<Status word={node.phase} />} />
          <Figure title={t('since')} text={<Moment at={node.since} />} />
          <Figure title={t('last_heard')} text={node.me ? t('here') : <Ago at={node.last_heard} />} />
          <Figure title={t('tags')} text={node.tags.join(', ') || '–'} />
          <Figure title={t('load')} text={`${node.load_pct} % (${bytes(node.load_bytes_per_s)}/s)`} />
          <Figure title={t('machine_load')} text={load(node)} />
          <Figure title={t('sources')} text={node.sources} />
          <Figure title={t('started')} text={<Moment at={node.started} />} />
          <Figure title={t('version')} text={node.version ?? '–'} />
          <Figure title={t('addresses')} text={`${node.gossip} · ${node.quic} · ${node.http ?? '–'}`} />
          <Figure title={t('node_id')} text={node.id} />
          <Figure title={t('generation')} text={node.generation} />
        </Group>
        {node.drain && (
          <Text size="sm" mt="sm">
            {node.drain.done ? t('drain_done') : t('drain_left', { sources: node.drain.sources, witness: node.drain.witness_of })}
          </Text>
        )}
        {node.unsteady && (
          <Text size="sm" mt="sm">
            {told(node.unsteady)}
          </Text>
        )}
      </Panel>
      <Panel title={t('instances')}>
        <Remote of={work}>{(rows) => <InstanceList rows={rows} short of="node" />}</Remote>
      </Panel>
      <Panel title={t('live_events')}>
        <Events rows={events} empty={t('no_events')} />
      </Panel>
      <Act deed={deed} onClose={() => setDeed(undefined)} />
      {tagging && <Tagging node={node} onClose={() => setTagging(false)} />}
    </Stack>
  )
}

/** A node's tags: typed, then asked about, then said. */
function Tagging({ node, onClose }: { node: NodeRow; onClose: () => void }) {
  const { t } = useWords()
  // As it was when it was opened: looks that come later do not touch what is being typed.
  const [of, setOf] = useState(node)
  const [text, setText] = useState(node.tags.join(' '))
  const [deed, setDeed] = useState<Deed>()
  const [isDone, setDone] = useState(false)
  // Cancelled, or refused as another has changed them: back to what was typed, now for the tags as they are.
  const back = () => (setOf(node), setDeed(undefined))
  if (deed) return <Act deed={deed} onClose={isDone ? onClose : back} />
  return (
    <EditTags
      node={of}
      text={text}
      onText={setText}
      onClose={onClose}
      onAsk={(tags) =>
        setDeed({
          title: `${t('edit_tags')}: ${of.name}`,
          loses: `${of.tags.join(', ') || '–'} → ${tags.join(', ') || '–'}`,
          run: async ({ dry_run, reason }) => {
            const written = await ask(
              api.PUT('/v1/nodes/{node}/tags', {
                params: { path: { node: of.id }, query: { dry_run, reason } },
                // All tags are sent: one that another gave meanwhile must not go with them.
                headers: dry_run ? {} : { 'if-match': `"${of.tags_revision}"` },
                body: { tags },
              }),
            )
            setDone(!dry_run)
            return written
          },
        })
      }
    />
  )
}

interface Editor {
  node: NodeRow
  text: string
  onText: (text: string) => void
  onAsk: (tags: string[]) => void
  onClose: () => void
}

function EditTags({ node, text, onText, onAsk, onClose }: Editor) {
  const { t } = useWords()
  const [wrong, setWrong] = useState<string>()
  const go = () => {
    const tags = words(text)
    const bad = notAName(tags)
    if (bad !== undefined) return setWrong(t('tags_bad', { tag: bad }))
    onAsk(tags)
  }
  return (
    <Modal opened onClose={onClose} title={`${t('edit_tags')}: ${node.name}`} closeButtonProps={{ 'aria-label': t('close') }}>
      <form onSubmit={(event) => (event.preventDefault(), go())}>
        <Stack>
          <TextInput
            data-autofocus
            label={t('tags')}
            description={t('tags_help')}
            value={text}
            error={wrong}
            onChange={(event) => (onText(event.currentTarget.value), setWrong(undefined))}
          />
          <Group justify="flex-end">
            <Button variant="default" onClick={onClose}>
              {t('cancel')}
            </Button>
            <Button type="submit">{t('next')}</Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  )
}
