import { Button, Group, Stack, Text } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { api, ask, type RunnerSpec, type RunnerView } from '../api/client'
import { revisions } from '../api/queries'
import { Act, Barred, type Deed, useRoleBar } from '../components/Act'
import { List } from '../components/List'
import { Remote } from '../components/Remote'
import { Moment } from '../components/When'
import { useWords } from '../components/words'
import { difference } from '../logic/difference'

/** What the runner was before, as the asked node stored it; what of that differs from now; and a way back. */
export function Revisions({ view }: { view: RunnerView }) {
  const { t } = useWords()
  const of = useQuery(revisions(view.name))
  const [chosen, setChosen] = useState<string>()
  const bar = useRoleBar()
  const [deed, setDeed] = useState<Deed>()
  const back = (spec: RunnerSpec, revision: string): Deed => ({
    title: `${t('revision_back')}: ${view.name}`,
    loses: t('revision_back_loses', { revision }),
    run: ({ dry_run, reason }) =>
      ask(
        api.PUT('/v1/runners/{runner}', {
          params: { path: { runner: view.name }, query: { dry_run, reason } },
          headers: dry_run ? {} : { 'if-match': `"${view.spec_revision}"` },
          // Sources have revisions of their own: they stay as they are.
          body: { ...spec, sources: view.spec.sources },
        }),
      ),
  })
  return (
    <Remote of={of}>
      {(rows) => {
        const old = rows.find((row) => row.revision === chosen)
        return (
          <Stack>
            <List
              label={t('revisions')}
              short
              rows={rows}
              rowKey={(row) => row.revision}
              empty={t('no_revisions')}
              columns={[
                { key: 'time', title: t('time'), width: '11em', cell: (row) => <Moment at={row.time} /> },
                { key: 'actor', title: t('actor'), width: '6em', cell: (row) => row.actor ?? '–' },
                { key: 'reason', title: t('reason'), cell: (row) => row.reason ?? '' },
                { key: 'revision', title: t('revision'), width: '13em', cell: (row) => row.revision },
                {
                  key: 'actions', title: t('actions'), width: '11em',
                  cell: (row) =>
                    row.present ? t('revision_now') : row.spec ? (
                      <Button size="compact-xs" variant="default" onClick={() => setChosen(row.revision)}>
                        {t('revision_compare')}
                      </Button>
                    ) : (
                      t('revision_deleted')
                    ),
                },
              ]}
            />
            {old?.spec && (
              <>
                <Group justify="space-between">
                  <Text size="sm">{t('revision_legend')}</Text>
                  <Barred barred={bar} onClick={() => old.spec && setDeed(back(old.spec, old.revision))}>
                    {t('revision_back')}
                  </Barred>
                </Group>
                <pre tabIndex={0} className="difference">
                  {difference(JSON.stringify({ ...old.spec, sources: undefined }, null, 2), JSON.stringify({ ...view.spec, sources: undefined }, null, 2)).map((line, at) => (
                    <div key={at} data-change={line.change}>
                      {line.change === 'same' ? '  ' : line.change === 'gone' ? '- ' : '+ '}
                      {line.text}
                    </div>
                  ))}
                </pre>
              </>
            )}
            <Act deed={deed} onClose={() => setDeed(undefined)} />
          </Stack>
        )
      }}
    </Remote>
  )
}
