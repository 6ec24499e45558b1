import Kernel
import TestSupport
import Testing

/// Clients that attach too late are told, so that they read the log instead: an empty stream would lose them what was said
/// between their look at the log and the end.
@Suite struct CRIAttachTests {
  @Test func attachToAContainerThatHasEndedIsRefused() async throws {
    try await CRINode.with { node, _ in
      try await StrangersClient.run(Self.program, on: node, says: "told that it had ended")
    }
  }

  private static let program = #"""
    import time
    config = {'metadata': {'name': 'late', 'uid': 'u', 'namespace': 'default'}, 'log_directory': path + '/logs/late',
              'linux': {'security_context': {'namespace_options': {'pid': 1}}}}
    pod = call('RunPodSandbox', {'config': config})['pod_sandbox_id']
    def make(name, script, **more):
        container = {'metadata': {'name': name}, 'image': {'image': 'localhost/busybox:test'},
                     'command': ['sh', '-c', script], 'log_path': name + '.log', 'stdin': True, 'stdin_once': True,
                     'linux': {'security_context': {'namespace_options': {'pid': 1}}}}
        container.update(more)
        return call('CreateContainer', {'pod_sandbox_id': pod, 'config': container, 'sandbox_config': config})['container_id']
    def start(*args, **more):
        id = make(*args, **more); call('StartContainer', {'container_id': id}); return id
    def ended(id):
        deadline = time.monotonic() + 10
        while call('ContainerStatus', {'container_id': id})['status'].get('state', 0) != 2:
            assert time.monotonic() < deadline; time.sleep(0.01)
        return id
    def ask(id, **more): return dict({'container_id': id, 'stdin': True, 'stdout': True, 'stderr': True}, **more)
    # It was too late: it reads the log.
    id = ended(start('short', 'echo told; exit 3'))
    assert 'not running' in refused('Attach', ask(id), 'FAILED_PRECONDITION')
    assert open(path + '/logs/late/short.log').read().count('told') == 1
    assert call('ContainerStatus', {'container_id': id})['status']['exit_code'] == 3
    terminal = ended(start('terminal', 'echo told', tty=True))
    refused('Attach', ask(terminal, tty=True, stderr=False), 'FAILED_PRECONDITION')

    # Nor to one that never started, or is gone; no command runs there.
    refused('Attach', ask(make('created', 'true')), 'FAILED_PRECONDITION')
    assert 'not running' in refused('Exec', dict(ask(id), cmd=['true']), 'FAILED_PRECONDITION')
    call('RemoveContainer', {'container_id': id})
    refused('Attach', ask(id), 'NOT_FOUND')
    call('RemovePodSandbox', {'pod_sandbox_id': pod})
    print('told that it had ended')
    """#
}
