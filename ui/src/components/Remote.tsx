import { Alert, Button, Group, Skeleton, Stack, Text } from '@mantine/core'
import type { ReactNode } from 'react'
import { Failure } from '../api/client'
import { span } from '../logic/format'
import { useWords } from './words'

/** What of a query this needs. */
interface Look<T> {
  data: T | undefined
  error: Error | null
  dataUpdatedAt: number
  refetch: () => unknown
}

export function useReason() {
  const { t, told } = useWords()
  return (error: Error) => (error instanceof Failure && error.problem ? told(error.problem.detail) : t('no_answer'))
}

/** What could not be done, why, and what to do about it. */
export function Trouble({ error, title, retry }: { error: Error; title?: string; retry?: () => unknown }) {
  const { t, told } = useWords()
  const reason = useReason()
  const problem = error instanceof Failure ? error.problem : undefined
  return (
    <Alert color="red" variant="outline" title={title ?? (problem ? told(problem.title) : t('load_failed'))} role="alert">
      <Stack gap="xs" align="flex-start">
        <Text size="sm">{reason(error)}</Text>
        {problem?.errors?.map((fault) => (
          <div key={fault.pointer + fault.detail} className="fault">
            {fault.pointer && <code>{fault.pointer}</code>} {/* A compiler's word has lines, and points into them. */}
            {fault.detail.includes('\n') ? <pre tabIndex={0}>{fault.detail}</pre> : told(fault.detail)}
          </div>
        ))}
        {problem?.action && <Text size="sm">{told(problem.action)}</Text>}
        {retry && (
          <Button size="xs" variant="default" onClick={retry}>
            {t('retry')}
          </Button>
        )}
      </Stack>
    </Alert>
  )
}

/** Something that a node is asked for: loading, failed, stale, or there. */
export function Remote<T>({ of, children, lines = 4 }: { of: Look<T>; children: (data: T) => ReactNode; lines?: number }) {
  const { t } = useWords()
  const reason = useReason()
  if (of.data === undefined) {
    if (of.error) return <Trouble error={of.error} title={t('load_failed')} retry={() => of.refetch()} />
    return (
      <Stack gap="xs" role="status" aria-label={t('loading')}>
        {Array.from({ length: lines }, (_, line) => (
          <Skeleton key={line} height={22} />
        ))}
      </Stack>
    )
  }
  return (
    <>
      {of.error && (
        <Alert color="orange" variant="outline" role="status" py="xs" mb="sm">
          <Group gap="sm">
            <Text size="sm">{t('stale', { age: span(Date.now() - of.dataUpdatedAt), reason: reason(of.error) })}</Text>
            <Button size="compact-xs" variant="default" onClick={() => of.refetch()}>
              {t('retry')}
            </Button>
          </Group>
        </Alert>
      )}
      {children(of.data)}
    </>
  )
}
