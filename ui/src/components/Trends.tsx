import { Group, NativeSelect, Stack, Text } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useMemo, useState } from 'react'
import type { Point } from '../api/client'
import { series } from '../api/queries'
import { bytes, count } from '../logic/format'
import { line, path } from '../logic/series'
import { Chart } from './Chart'
import { Remote } from './Remote'
import { useWords } from './words'

const rate = (value: number) => `${bytes(value)}/s`
const number = (value: number) => count(value)

const MEASURES = {
  bytes_per_s: { title: 'bytes_rate', format: rate },
  records_per_s: { title: 'records_rate', format: number },
  lag_bytes: { title: 'lag', format: bytes },
  running: { title: 'running_instances', format: number },
} as const satisfies Record<keyof Point, { title: string; format: (value: number) => string }>

/** How a runner, or all together, did in the last hour or day, as the asked node saw it. */
export function Trends({ runner }: { runner?: string }) {
  const { t } = useWords()
  const [measure, setMeasure] = useState<keyof Point>('bytes_per_s')
  const [step, setStep] = useState<10 | 60>(10)
  const of = useQuery(series(runner, step))
  const points = useMemo(() => line(of.data ?? null, measure), [of.data, measure])
  const { title, format } = MEASURES[measure]
  return (
    <Remote of={of} lines={5}>
      {() => (
        <Stack gap="xs">
          <Group>
            <NativeSelect
              size="xs"
              label={t('measure')}
              value={measure}
              onChange={(event) => setMeasure(event.currentTarget.value as keyof Point)}
              data={Object.entries(MEASURES).map(([value, { title }]) => ({ value, label: t(title) }))}
            />
            <NativeSelect
              size="xs"
              label={t('period')}
              value={String(step)}
              onChange={(event) => setStep(event.currentTarget.value === '60' ? 60 : 10)}
              data={[{ value: '10', label: t('last_hour') }, { value: '60', label: t('last_day') }]}
            />
          </Group>
          {points[0].length > 1 ? <Chart points={points} label={t(title)} format={format} /> : <Text size="sm">{t('rates_wait')}</Text>}
          <Text size="xs" c="dimmed">
            {t('rates_here')}
          </Text>
        </Stack>
      )}
    </Remote>
  )
}

/** A runner's bytes a second in the last hour, small enough for a row. */
export function Spark({ runner }: { runner: string }) {
  const { t } = useWords()
  const of = useQuery({ ...series(runner, 60), refetchInterval: 30_000 })
  const drawn = path(line(of.data ?? null, 'bytes_per_s')[1].slice(-60), 80, 18)
  if (drawn === '') return '–'
  return (
    <svg className="spark" viewBox="0 0 80 20" role="img" aria-label={t('trend')}>
      <path d={drawn} />
    </svg>
  )
}
