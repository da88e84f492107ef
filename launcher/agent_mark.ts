/** What an agent says before its first frame. Pure; tsrun and agent: what a login shell says before that is no frame. */
export const BEGIN_MARK = 'khorovod-agent-begins\n';
