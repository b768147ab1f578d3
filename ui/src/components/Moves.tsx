import { Stack, Text } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import type { EventRow } from '../api/client'
import { moves as movesQuery } from '../api/queries'
import { LANES_MAX, lanes, moved, wordOf } from '../logic/moves'
import { named } from '../told'
import { List } from './List'
import { Remote } from './Remote'
import { type Tone, Mark } from './Status'
import { useNames } from './useNames'
import { useNow } from './useNow'
import { Moment } from './When'
import { useWords } from './words'
import { Go } from './Go'

const HOUR_MS = 3_600_000

/** What became of a source, as a shape: it came, it went, or something is wrong. */
const TONES: Record<ReturnType<typeof wordOf>, Tone> = { came: 'good', went: 'quiet', again: 'warn', trouble: 'bad' }
const KEYS = { came: 'move_came', went: 'move_went', again: 'move_again', trouble: 'move_trouble' } as const

/** Sources that changed hands within the hour: a lane for each node, a mark for each move; and the same as a list. */
export function Moves() {
  const { t, told } = useWords()
  const of = useQuery(movesQuery)
  const names = useNames()
  const nameOf = (row: EventRow) => (row.node ? (names.get(row.node) ?? row.node.slice(0, 8)) : '–')
  const why = (row: EventRow) => told(named(row.detail, names))
  return (
    <Remote of={of}>
      {(rows) => (
        <Stack gap="sm">
          <Picture rows={rows} nameOf={nameOf} why={why} />
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
                cell: (row) => (row.runner && row.source ? <Go to="/sources/$runner/$source" params={{ runner: row.runner, source: row.source }}>{`${row.runner}/${row.source}`}</Go> : row.sources ? t('move_several', { runner: row.runner ?? '–', n: row.sources }) : (row.runner ?? '–')),
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
              { key: 'why', title: t('why'), width: 'minmax(0, 2fr)', cell: why },
            ]}
          />
        </Stack>
      )}
    </Remote>
  )
}

/** Lanes of the page's own boxes, not of an SVG: on a phone the lanes shrink and the words do not. */
function Picture({ rows, nameOf, why }: { rows: EventRow[]; nameOf: (row: EventRow) => string; why: (row: EventRow) => string }) {
  const { t } = useWords()
  const now = useNow()
  const { shown, hidden } = lanes(rows, nameOf)
  if (shown.length === 0) return null
  const at = (time: string) => `${((1 - Math.min(1, Math.max(0, (now - Date.parse(time)) / HOUR_MS))) * 100).toFixed(1)}%`
  return (
    <div>
      <div className="lanes" role="img" aria-label={t('moves_told', { n: moved(rows), nodes: shown.length + hidden })}>
        {shown.map((lane) => (
          <div key={lane.node} className="lane">
            <span>{lane.node}</span>
            <div>
              {lane.rows.map((row) => (
                <span key={row.id} style={{ left: at(row.time) }} title={`${nameOf(row)}: ${why(row)}`}>
                  <Mark tone={TONES[wordOf(row.kind)]} />
                  {row.sources && <small>{row.sources}</small>}
                </span>
              ))}
            </div>
          </div>
        ))}
        <div className="lane scale">
          <span />
          <div>
            {[60, 30, 0].map((minutes) => (
              <span key={minutes} style={{ left: `${100 - (minutes / 60) * 100}%` }}>
                {minutes === 0 ? t('now') : `−${minutes} min`}
              </span>
            ))}
          </div>
        </div>
      </div>
      {hidden > 0 && (
        <Text size="xs" c="dimmed">
          {t('moves_hidden', { n: hidden, most: LANES_MAX })}
        </Text>
      )}
    </div>
  )
}
