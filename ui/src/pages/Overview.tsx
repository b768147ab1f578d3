import { Grid, Group, Paper, Stack, Text, Title } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import type { ReactNode } from 'react'
import type { EventRow, InstanceRow } from '../api/client'
import { useStream } from '../api/events'
import { cluster, evenness, instances, nodes } from '../api/queries'
import { Go, GoButton } from '../components/Go'
import { NodesPicture } from '../components/pictures'
import { Remote } from '../components/Remote'
import { Status } from '../components/Status'
import { Trends } from '../components/Trends'
import { Moment } from '../components/When'
import { useNames } from '../components/useNames'
import { useWords } from '../components/words'
import { bytes, count } from '../logic/format'
import { around, named } from '../told'

export function Panel({ title, children }: { title: string; children: ReactNode }) {
  return (
    <Paper withBorder p="md" component="section" h="100%">
      <Title order={2} size="h5" mb="sm">
        {title}
      </Title>
      {children}
    </Paper>
  )
}

/** What a write changes key by key is in its operation already. */
export const isNews = (event: EventRow) => !event.kind.startsWith('catalog.')

const rate = (value: number) => `${bytes(value)}/s`

export function Overview() {
  const { t, language } = useWords()
  const glance = useQuery(cluster)
  const machines = useQuery(nodes)
  const work = useQuery(instances())
  const even = useQuery(evenness)
  const { events } = useStream()
  const moves = events.filter((event) => event.kind.startsWith('source.')).slice(-12).reverse()
  return (
    <Stack>
      <Title order={1} size="h3">
        {t('overview')}
      </Title>
      <Grid>
        <Grid.Col span={{ base: 12, md: 7 }}>
          <Panel title={t('machines')}>
            <Remote of={machines}>
              {(rows) => (
                <Stack gap="sm">
                  <NodesPicture nodes={rows} />
                  <Group gap="md">
                    {['alive', 'suspect', 'down', 'left'].map((status) => (
                      <Group gap={6} key={status}>
                        <Status word={status} />
                        <Text size="sm" fw={600}>
                          {rows.filter((node) => node.status === status).length}
                        </Text>
                      </Group>
                    ))}
                  </Group>
                </Stack>
              )}
            </Remote>
          </Panel>
        </Grid.Col>
        <Grid.Col span={{ base: 12, md: 5 }}>
          <Panel title={t('sources')}>
            <Remote of={glance}>
              {(now) => (
                <Stack gap="xs">
                  {now.runners === 0 && (
                    <>
                      <Text size="sm">{t('first_runner')}</Text>
                      <GoButton to="/create" w="max-content">
                        {t('create')}
                      </GoButton>
                    </>
                  )}
                  <Counts title={t('runners')} counts={now.runners_by_state} total={now.runners} to="/runners" />
                  <Counts title={t('sources')} counts={now.sources_by_state} total={now.sources} to="/sources" />
                  <Counts title={t('instances')} counts={now.instances_by_state} total={Object.values(now.instances_by_state).reduce((a, b) => a + b, 0)} to="/runners" />
                  <Text size="sm">
                    {t('balance')}: <b>{even.data?.toFixed(2) ?? '–'}</b>
                  </Text>
                </Stack>
              )}
            </Remote>
          </Panel>
        </Grid.Col>
        <Grid.Col span={12}>
          <Panel title={t('rates')}>
            <Remote of={work} lines={3}>
              {(rows) => (
                <Stack gap="sm">
                  <Group className="figures">
                    <Figure title={t('records_rate')} text={count(sum(rows, 'records_per_s'), language)} />
                    <Figure title={t('bytes_rate')} text={rate(sum(rows, 'bytes_per_s'))} />
                    <Figure title={t('lag')} text={bytes(sum(rows, 'lag_bytes'))} />
                    <Figure title={t('errors')} text={count(sum(rows, 'errors'), language)} />
                    <Figure title={t('dead_letters')} text={count(sum(rows, 'dead_lettered'), language)} />
                  </Group>
                  <Trends />
                </Stack>
              )}
            </Remote>
          </Panel>
        </Grid.Col>
        <Grid.Col span={{ base: 12, md: 6 }}>
          <Panel title={t('moved_lately')}>
            <Events rows={moves} empty={t('nothing_moved')} />
          </Panel>
        </Grid.Col>
        <Grid.Col span={{ base: 12, md: 6 }}>
          <Panel title={t('live_events')}>
            <Events rows={events.filter((event) => isNews(event) && !event.kind.startsWith('source.')).slice(-12).reverse()} empty={t('no_events')} />
          </Panel>
        </Grid.Col>
      </Grid>
    </Stack>
  )
}

const sum = (rows: InstanceRow[], key: 'records_per_s' | 'bytes_per_s' | 'lag_bytes' | 'errors' | 'dead_lettered') =>
  rows.reduce((sum, row) => sum + row[key], 0)

export function Figure({ title, text }: { title: string; text: ReactNode }) {
  return (
    <div className="figure">
      <Text size="xs" c="dimmed">
        {title}
      </Text>
      <Text fw={600}>{text}</Text>
    </div>
  )
}

function Counts({ title, counts, total, to }: { title: string; counts: Record<string, number>; total: number; to: '/sources' | '/runners' }) {
  return (
    <Group gap="sm">
      <Go to={to} size="sm">
        {title}: {total}
      </Go>
      {Object.entries(counts).map(([word, n]) => (
        <Group gap={6} key={word}>
          <Status word={word} />
          <Text size="sm" fw={600}>
            {n}
          </Text>
        </Group>
      ))}
    </Group>
  )
}

/** What an event is about, where its words leave that out. */
function subject({ runner, source, detail }: EventRow) {
  if (!runner || !source || detail.includes(source)) return null
  return (
    <>
      <Go to="/sources/$runner/$source" params={{ runner, source }}>
        {runner}/{source}
      </Go>{' '}
    </>
  )
}

/** An event in words, with a link to the node that it is about: where its name stands, or before the rest. */
function Detail({ row, names }: { row: EventRow; names: ReadonlyMap<string, string> }) {
  const { told } = useWords()
  const detail = told(named(row.detail, names))
  const name = row.node ? names.get(row.node) : undefined
  if (!row.node || !name) return detail
  const [before, after] = around(detail, name) ?? ['', ` ${detail}`]
  return (
    <>
      {before}
      <Go to="/machines/$node" params={{ node: row.node }}>
        {name}
      </Go>
      {after}
    </>
  )
}

export function Events({ rows, empty }: { rows: EventRow[]; empty: string }) {
  const names = useNames()
  if (rows.length === 0) return <Text size="sm">{empty}</Text>
  return (
    <ul className="events">
      {rows.map((row) => (
        <li key={row.id}>
          <Moment at={row.time} /> <b>{row.kind}</b> {subject(row)}
          <Detail row={row} names={names} />
        </li>
      ))}
    </ul>
  )
}
