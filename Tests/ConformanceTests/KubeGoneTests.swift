import Testing

extension KubeTests {
  /// Who comes back after the past is forgotten, and who asks what they may do.
  @Suite(.cluster) struct GoneAndAllowed {
    /// So much changes that the changes from before are no longer in memory: more than 32 MiB of replaced values.
    @Test func aWatchFromAForgottenRevisionIsToldAndAClientBeginsAnew() async throws {
      let shell = try await KubeShell.make("gone")
      try shell.write("gone.py", Self.program)
      try await shell.says(
        "python3 gone.py",
        """
        watch 410 Expired
        raw ERROR 410 Expired
        anew ADDED big
        """)
    }

    private static let program = """
      import json, subprocess
      from kubernetes import client, config, watch
      config.load_kube_config()
      core, ns = client.CoreV1Api(), 'gone'
      first = core.create_namespaced_config_map(ns, {'metadata': {'name': 'big'}, 'data': {'a': ''}})
      old = first.metadata.resource_version
      for i in range(45):
          core.replace_namespaced_config_map('big', ns, {'metadata': {'name': 'big'}, 'data': {'a': str(i) + 'x' * 1000000}})
      def events(version):
          return watch.Watch().stream(core.list_namespaced_config_map, ns, resource_version=version, timeout_seconds=10)
      try:
          for event in events(old): print('still there', event['type'])
      except client.ApiException as e: print('watch', e.status, e.reason.split(':')[0])
      raw = subprocess.run(['kubectl', 'get', '--raw', f'/api/v1/namespaces/{ns}/configmaps?watch=1&timeoutSeconds=5&resourceVersion={old}'], capture_output=True, text=True)
      event = json.loads(raw.stdout.splitlines()[0])
      print('raw', event['type'], event['object']['code'], event['object']['reason'])
      w = watch.Watch()
      for event in w.stream(core.list_namespaced_config_map, ns, timeout_seconds=10, field_selector='metadata.name=big'):
          print('anew', event['type'], event['object'].metadata.name)
          w.stop()
      core.delete_namespaced_config_map('big', ns)
      """

    @Test func whoAsksWhatTheyMayIsTold() async throws {
      let shell = try await KubeShell.make("allowed")
      try await shell.says("kubectl auth can-i delete nodes 2>/dev/null", "yes")
      try await shell.shows("kubectl auth can-i --list", "*.*", "[*]")
      let node = "kubectl --kubeconfig \(shell.node.path)/root/server/nodes/node1.kubeconfig"
      let refused = try await shell("\(node) auth can-i list pods --all-namespaces")
      #expect(refused.code == 1, "\(refused.errors)")
      #expect(refused.output.hasPrefix("no"), "\(refused.output)")
      try await shell.says("\(node) auth can-i list services --all-namespaces 2>/dev/null", "yes")
      let narrow = try await shell("\(node) get pods --all-namespaces")
      #expect(narrow.errors.contains("can only list/watch pods with spec.nodeName field selector"), "\(narrow.errors)")
      try await shell.shows("\(node) get pods --all-namespaces --field-selector spec.nodeName=node1 2>&1", "")
    }
  }
}
