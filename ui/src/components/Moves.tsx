import { Stack, Text } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import type { EventRow } from '../api/client'
import { moves as movesQuery, nodes } from '../api/queries'
import { LANES_MAX, lanes, wordOf } from '../logic/moves'
import { List } from './List'
import { Remote } from './Remote'
import { type Tone, Mark } from './Status'
import { useNow } from './useNow'
import { Moment } from './When'
import { useWords } from './words'
import { Go } from './Go'

const HOUR_MS = 3_600_000
const WIDTH = 860
const LEFT = 110
const LANE = 24

/** What became of a source, as a shape: it came, it went, or something is wrong. */
const TONES: Record<ReturnType<typeof wordOf>, Tone> = { came: 'good', went: 'quiet', trouble: 'bad' }
const KEYS = { came: 'move_came', went: 'move_went', trouble: 'move_trouble' } as const

/** Sources that changed hands within the hour: a lane for each node, a mark for each move; and the same as a list. */
export function Moves() {
  const { t } = useWords()
  const of = useQuery(movesQuery)
  const names = new Map((useQuery(nodes).data ?? []).map((node) => [node.id, node.name]))
  const nameOf = (row: EventRow) => (row.node ? (names.get(row.node) ?? row.node.slice(0, 8)) : '–')
  return (
    <Remote of={of}>
      {(rows) => (
        <Stack gap="sm">
          <Picture rows={rows} nameOf={nameOf} />
          <List
            label={t('moves_list')}
            short
            rows={[...rows].reverse()}
            rowKey={(row) => row.id}
            empty={t('nothing_moved')}
            columns={[
              { key: 'time', title: t('time'), width: '6em', cell: (row) => <Moment at={row.time} /> },
              { key: 'node', title: t('node'), width: '8em', cell: (row) => (row.node ? <Go to="/machines/$node" params={{ node: row.node }}>{nameOf(row)}</Go> : '–') },
              {
                key: 'source', title: t('source'),
                cell: (row) => (row.runner && row.source ? <Go to="/sources/$runner/$source" params={{ runner: row.runner, source: row.source }}>{`${row.runner}/${row.source}`}</Go> : (row.runner ?? '–')),
              },
              {
                key: 'what', title: t('move_what'), width: '7em',
                cell: (row) => (
                  <span className="status">
                    <Mark tone={TONES[wordOf(row.kind)]} />
                    {t(KEYS[wordOf(row.kind)])}
                  </span>
                ),
              },
              { key: 'why', title: t('why'), width: 'minmax(0, 2fr)', cell: (row) => row.detail },
            ]}
          />
        </Stack>
      )}
    </Remote>
  )
}

function Picture({ rows, nameOf }: { rows: EventRow[]; nameOf: (row: EventRow) => string }) {
  const { t } = useWords()
  const now = useNow()
  const drawn = lanes(rows, nameOf)
  if (drawn.shown.length === 0) return null
  const height = drawn.shown.length * LANE + 24
  const x = (time: string) => LEFT + (1 - Math.min(1, Math.max(0, (now - Date.parse(time)) / HOUR_MS))) * (WIDTH - LEFT - 12)
  return (
    <div className="wide" tabIndex={0} role="group" aria-label={t('moves')}>
      <svg className="pipeline moves" viewBox={`0 0 ${WIDTH} ${height}`} role="img" aria-label={t('moves_told', { n: rows.length, nodes: drawn.shown.length + drawn.hidden })}>
        {drawn.shown.map((lane, at) => (
          <g key={lane.node} transform={`translate(0 ${at * LANE})`}>
            <text x={LEFT - 12} y="16">
              {lane.node}
            </text>
            <path className="lane" d={`M${LEFT} 12H${WIDTH - 12}`} />
            {lane.rows.map((row) => (
              <g key={row.id} transform={`translate(${(x(row.time) - 5).toFixed(1)} 7)`}>
                <title>{`${nameOf(row)}: ${row.detail}`}</title>
                <Mark tone={TONES[wordOf(row.kind)]} />
              </g>
            ))}
          </g>
        ))}
        {[60, 45, 30, 15, 0].map((minutes) => (
          <text key={minutes} className="small" x={LEFT + (1 - minutes / 60) * (WIDTH - LEFT - 12)} y={height - 6} data-end={minutes === 0 || undefined}>
            {minutes === 0 ? t('now') : `−${minutes} min`}
          </text>
        ))}
      </svg>
      {drawn.hidden > 0 && (
        <Text size="xs" c="dimmed">
          {t('moves_hidden', { n: drawn.hidden, most: LANES_MAX })}
        </Text>
      )}
    </div>
  )
}
