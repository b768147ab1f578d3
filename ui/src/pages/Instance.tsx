import { Group, NativeSelect, Stack, Text, Title } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import type { InstanceRow, InstanceView } from '../api/client'
import { instance } from '../api/queries'
import { List } from '../components/List'
import { Remote } from '../components/Remote'
import { Ago } from '../components/When'
import { useWords } from '../components/words'
import { bytes, count, moment, span } from '../logic/format'
import { Figure } from './Overview'

/** Where to look first: most errors, then most that waits. */
export const worst = (rows: InstanceRow[]): InstanceRow | undefined =>
  [...rows].sort((a, b) => b.errors - a.errors || b.lag_bytes - a.lag_bytes || a.node_name.localeCompare(b.node_name))[0]

/** One instance as only its own node knows it: senders, errors by stage, where its sources are. */
export function InstanceDetail({ rows, node, onNode }: { rows: InstanceRow[]; node: string | undefined; onNode: (node: string) => void }) {
  const { t } = useWords()
  const chosen = rows.find((row) => row.node === node) ?? worst(rows)
  if (!chosen) return <Text size="sm">{t('no_instances')}</Text>
  return (
    <Stack>
      <NativeSelect
        size="xs"
        w="max-content"
        label={t('on_node')}
        value={chosen.node}
        onChange={(event) => onNode(event.currentTarget.value)}
        data={rows.map((row) => ({ value: row.node, label: `${row.node_name}${row.errors > 0 ? ` (${t('n_errors', { n: row.errors })})` : ''}` }))}
      />
      <Known runner={chosen.runner} node={chosen.node} />
    </Stack>
  )
}

function Known({ runner, node }: { runner: string; node: string }) {
  const of = useQuery(instance(node, runner))
  return <Remote of={of}>{(view) => <View view={view} />}</Remote>
}

function View({ view }: { view: InstanceView }) {
  const { t, told, language } = useWords()
  if (view.unanswered)
    return (
      <Text size="sm" c="var(--bad)">
        {told(view.unanswered)}
      </Text>
    )
  return (
    <Stack>
      <Group className="figures">
        <Figure title={t('read_so_far')} text={`${count(view.read_records, language)} · ${bytes(view.read_bytes)}`} />
        <Figure title={t('acknowledged_so_far')} text={bytes(view.acknowledged_bytes)} />
        <Figure title={t('lag')} text={`${bytes(view.lag_bytes)}${view.lag_s == null ? '' : ` · ${span(view.lag_s * 1000)}`}`} />
        <Figure title={t('dead_letters')} text={count(view.dead_lettered, language)} />
        {view.counted_since && <Figure title={t('counted_since')} text={moment(view.counted_since)} />}
      </Group>
      <Title order={3} size="h6">
        {t('senders')}
      </Title>
      <List
        label={t('senders')}
        short
        rows={view.senders}
        rowKey={(row) => row.name}
        empty={t('no_senders')}
        columns={[
          { key: 'name', title: t('name'), cell: (row) => row.name },
          { key: 'records', title: t('acknowledged_records'), width: '7em', cell: (row) => count(row.records, language) },
          { key: 'bytes', title: t('bytes'), width: '6em', cell: (row) => bytes(row.bytes) },
          { key: 'flight', title: t('in_flight'), width: '6em', cell: (row) => row.in_flight },
          { key: 'ack', title: t('ack_ms'), width: '7em', cell: (row) => (row.ack_ms == null ? '–' : `${count(row.ack_ms, language)} ms`) },
          { key: 'last', title: t('last_ack'), width: '7em', cell: (row) => <Ago at={row.acknowledged} /> },
          { key: 'retries', title: t('retries'), width: '6em', cell: (row) => count(row.retries, language) },
          { key: 'dead', title: t('dead_letters'), width: '6em', cell: (row) => count(row.dead_lettered, language) },
          { key: 'trouble', title: t('trouble'), width: 'minmax(0, 1.8fr)', cell: (row) => (row.trouble ? <span className="bad">{row.trouble}</span> : '–') },
        ]}
      />
      <Title order={3} size="h6">
        {t('stage_errors')}
      </Title>
      <List
        label={t('stage_errors')}
        short
        rows={view.stages.flatMap((stage) => stage.recent.map((error, at) => ({ stage: stage.stage, total: stage.errors, at, ...error })))}
        rowKey={(row) => `${row.stage} ${row.at}`}
        empty={t('no_stage_errors')}
        columns={[
          { key: 'stage', title: t('stage'), width: '8em', cell: (row) => row.stage },
          { key: 'count', title: t('times'), width: '5em', cell: (row) => count(row.count, language) },
          { key: 'last', title: t('last_seen'), width: '7em', cell: (row) => <Ago at={row.last_seen} /> },
          { key: 'source', title: t('source'), width: '9em', cell: (row) => row.source ?? '–' },
          { key: 'error', title: t('error'), width: 'minmax(0, 3fr)', cell: (row) => row.error },
        ]}
      />
      <Title order={3} size="h6">
        {t('sources_at', { n: count(view.sources_total, language) })}
      </Title>
      <List
        label={t('sources_here')}
        short
        rows={view.sources}
        rowKey={(row) => row.source}
        empty={t('no_sources_here')}
        columns={[
          { key: 'source', title: t('source'), cell: (row) => row.path ?? row.source },
          { key: 'lag', title: t('lag'), width: '10em', cell: (row) => (row.lag_bytes === 0 && row.lag_s === 0 ? '–' : `${bytes(row.lag_bytes)} · ${span(row.lag_s * 1000)}`) },
          {
            key: 'acknowledged', title: t('acknowledged'), width: 'minmax(0, 2fr)',
            cell: (row) => row.acknowledged.map((place) => Object.entries(place.offsets).map(([sender, offset]) => `${sender} ${count(offset, language)} B`).join(', ')).join('; ') || '–',
          },
          { key: 'error', title: t('error'), width: 'minmax(0, 2fr)', cell: (row) => (row.error ? <span className="bad">{row.error}</span> : '–') },
        ]}
      />
    </Stack>
  )
}
