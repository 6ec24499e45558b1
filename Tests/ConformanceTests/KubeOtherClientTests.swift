import Testing

extension KubeTests {
  /// Clients of other years and languages.
  @Suite(.cluster) struct OtherClients {
    @Test func anOldKubectlWorks() async throws {
      let shell = try await KubeShell.make("old")
      try shell.write("app.yaml", KubeManifests.app())
      try shell.write("app2.yaml", KubeManifests.app(replicas: 3, greeting: "second"))
      try await shell.says(
        "kubectl-1.20 apply -f app.yaml", "deployment.apps/app created\nconfigmap/cfg created\nservice/app created")
      try await shell.shows("kubectl-1.20 rollout status deploy/app --timeout=30s", "successfully rolled out\n")
      try await shell.tabulates("kubectl-1.20 get deploy", "app 2/2 2 2 AGE")
      try await shell.tabulates("kubectl-1.20 get nodes", "node1 Ready <none> AGE v1.36.0+martlet")
      try await shell.shows("kubectl-1.20 get pods -o wide", "node1", "1/1     Running")
      try await shell.shows("kubectl-1.20 describe deploy app", "2 desired | 2 updated | 2 total | 2 available")
      try await shell.shows("kubectl-1.20 describe pod -l app=app", "Container started")
      try await shell.shows("kubectl-1.20 describe svc app", "Type:              ClusterIP\n")
      try await shell.shows("kubectl-1.20 describe node node1", "KubeletReady")
      try await shell.shows("kubectl-1.20 explain pods.spec.containers.image", "FIELD:    image <string>")
      try await shell.says(
        "kubectl-1.20 apply -f app2.yaml",
        "deployment.apps/app configured\nconfigmap/cfg unchanged\nservice/app unchanged")
      try await shell.shows("kubectl-1.20 rollout status deploy/app --timeout=30s", "successfully rolled out\n")
      try await shell.says("kubectl-1.20 logs -l app=app", "second\nsecond\nsecond")
      try await shell.shows("kubectl-1.20 rollout history deploy/app", "2         <none>\n")
      try await shell.says("kubectl-1.20 exec deploy/app -- echo hi", "hi")
      try await shell.says("kubectl-1.20 exec -i deploy/app -- cat", "through", input: "through\n")
      let failed = try await shell("kubectl-1.20 exec deploy/app -- sh -c 'echo err >&2; exit 3'")
      #expect((failed.code, failed.errors) == (3, "err\ncommand terminated with exit code 3\n"))
      try await shell.says("kubectl-1.20 scale deploy/app --replicas=1", "deployment.apps/app scaled")
      try await shell.says("kubectl-1.20 create cm c --from-literal=a=b", "configmap/c created")
      try await shell.says(
        "kubectl-1.20 delete -f app.yaml",
        "deployment.apps \"app\" deleted\nconfigmap \"cfg\" deleted\nservice \"app\" deleted")
    }

    @Test func thePythonClientListsWatchesPatchesAndStreams() async throws {
      let shell = try await KubeShell.make("python")
      try shell.write("box.yaml", KubeManifests.pod("box", "trap exit TERM; sleep 1000 & wait"))
      try await shell.shows(
        "kubectl apply -f box.yaml && kubectl wait pod/box --for=condition=Ready --timeout=30s", "met")
      try shell.write("client.py", Self.program)
      try await shell.says(
        "python3 client.py",
        """
        nodes node1
        created c
        conflict 409 AlreadyExists
        patched {'a': 'b', 'k': 'v'}
        watched ADDED MODIFIED DELETED
        exec out
        pages 11 of 1000
        resumed c-0001
        bad token 400
        """)
    }

    @Test func anOperatorOfKopfFollowsItsObjects() async throws {
      let shell = try await KubeShell.make("kopf")
      try shell.write("crd.yaml", Self.kopfDefinition)
      try shell.write("operator.py", Self.kopfOperator)
      try await shell.shows(
        "kubectl apply -f crd.yaml && kubectl wait --for=condition=Established crd/kopfexamples.kopf.dev",
        "condition met")
      func example(_ field: String) -> String {
        "{apiVersion: kopf.dev/v1, kind: KopfExample, metadata: {name: a}, spec: {field: \(field)}}"
      }
      let answer = try await shell(
        """
        timeout 60 python3 -m kopf run operator.py --namespace kopf > kopf.log 2>&1 & operator=$!
        trap 'kill $operator' EXIT
        wait_for() { for _ in $(seq 200); do [ "$(eval "$1" 2>/dev/null)" = "$2" ] && echo "$3" && return; sleep 0.1; done; echo "not $3"; }
        echo '\(example("one"))' | kubectl apply -f -
        wait_for "kubectl get cm a-child -o jsonpath='{.data.field}'" one made
        wait_for "kubectl get kex a -o jsonpath='{.status.create_fn.child}'" a-child told
        echo '\(example("two"))' | kubectl apply -f -
        wait_for "kubectl get cm a-child -o jsonpath='{.data.field}'" two changed
        kubectl delete kex a --timeout=20s
        """, seconds: 90)
      #expect(
        answer.output == """
          kopfexample.kopf.dev/a created
          made
          told
          kopfexample.kopf.dev/a configured
          changed
          kopfexample.kopf.dev "a" deleted from kopf namespace

          """, "\(answer.errors)")
      try await shell.shows("cat kopf.log", "Handler 'delete_fn' succeeded")
      try await shell.shows("kubectl delete -f crd.yaml", "deleted")
    }

    @Test func aScriptOfKr8sWorks() async throws {
      let shell = try await KubeShell.make("kr8s")
      try shell.write("script.py", Self.kr8sScript)
      try await shell.says(
        "python3 -W ignore script.py",
        """
        created True
        patched w
        labels {'a': 'b', 'x': 'y'}
        selected ['c']
        watched ['ADDED', 'DELETED']
        scaled 0
        none NotFoundError
        resources True
        """)
    }

    private static let kopfDefinition = """
      apiVersion: apiextensions.k8s.io/v1
      kind: CustomResourceDefinition
      metadata: {name: kopfexamples.kopf.dev}
      spec:
        scope: Namespaced
        group: kopf.dev
        names: {kind: KopfExample, plural: kopfexamples, singular: kopfexample, shortNames: [kex]}
        versions:
        - name: v1
          served: true
          storage: true
          schema:
            openAPIV3Schema:
              type: object
              x-kubernetes-preserve-unknown-fields: true
      """

    private static let kopfOperator = """
      import kopf, kubernetes
      @kopf.on.create('kopfexamples')
      def create_fn(spec, name, namespace, body, **_):
          kopf.info(body, reason='Made', message='the child is made')
          child = {'apiVersion': 'v1', 'kind': 'ConfigMap', 'metadata': {'name': name + '-child'}, 'data': {'field': spec['field']}}
          kopf.adopt(child)
          kubernetes.client.CoreV1Api().create_namespaced_config_map(namespace, child)
          return {'child': name + '-child'}
      @kopf.on.update('kopfexamples')
      def update_fn(spec, name, namespace, **_):
          change = {'data': {'field': spec['field']}}
          kubernetes.client.CoreV1Api().patch_namespaced_config_map(name + '-child', namespace, change)
      @kopf.on.delete('kopfexamples')
      def delete_fn(**_): pass
      """

    private static let kr8sScript = """
      import kr8s
      from kr8s.objects import ConfigMap, Deployment, Pod
      api, ns = kr8s.api(), 'kr8s'
      cm = ConfigMap({'metadata': {'name': 'c', 'namespace': ns, 'labels': {'a': 'b'}}, 'data': {'k': 'v'}})
      cm.create()
      print('created', cm.exists())
      cm.patch({'data': {'k': 'w'}})
      cm.refresh()
      print('patched', cm.data.k)
      cm.label({'x': 'y'})
      print('labels', dict(cm.labels))
      print('selected', [c.name for c in kr8s.get('configmaps', namespace=ns, label_selector='x=y')])
      seen = []
      for event, _ in api.watch('configmaps', namespace=ns, label_selector='x=y'):
          seen.append(event)
          if event == 'ADDED': cm.delete()
          if event == 'DELETED': break
      print('watched', seen)
      template = {'metadata': {'labels': {'a': 'b'}}, 'spec': {'containers': [{'name': 'c', 'image': 'none.invalid/i'}]}}
      d = Deployment({'metadata': {'name': 'd', 'namespace': ns}, 'spec': {'replicas': 0, 'selector': {'matchLabels': {'a': 'b'}}, 'template': template}})
      d.create()
      d.scale(0)
      d.refresh()
      print('scaled', d.spec.replicas)
      d.delete()
      try: Pod.get('none', namespace=ns)
      except kr8s.NotFoundError as e: print('none', type(e).__name__)
      print('resources', any(r['name'] == 'configmaps' for r in api.api_resources()))
      """

    private static let program = """
      import os, json, threading
      from kubernetes import client, config, watch
      from kubernetes.stream import stream
      config.load_kube_config()
      core = client.CoreV1Api()
      ns = 'python'
      print('nodes', *[n.metadata.name for n in core.list_node().items])
      body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name='c'), data={'a': 'b'})
      made = core.create_namespaced_config_map(ns, body)
      print('created', made.metadata.name)
      try: core.create_namespaced_config_map(ns, body)
      except client.ApiException as e: print('conflict', e.status, json.loads(e.body)['reason'])
      print('patched', core.patch_namespaced_config_map('c', ns, {'data': {'k': 'v'}}).data)
      core.delete_namespaced_config_map('c', ns)
      w, seen = watch.Watch(), []
      before = str(int(made.metadata.resource_version) - 1)
      for event in w.stream(core.list_namespaced_config_map, ns, resource_version=before, timeout_seconds=10):
          if event['object'].metadata.name == 'c': seen.append(event['type'])
          if event['type'] == 'DELETED': w.stop()
      print('watched', *seen)
      print('exec', stream(core.connect_get_namespaced_pod_exec, 'box', ns, command=['echo', 'out'], stdout=True, stderr=True, stdin=False, tty=False).strip())
      for i in range(1000):
          core.create_namespaced_config_map(ns, {'metadata': {'name': 'c-%04d' % i, 'labels': {'many': 'yes'}}}, _preload_content=False)
      pages, names, token = 0, [], None
      while True:
          page = core.list_namespaced_config_map(ns, label_selector='many=yes', limit=97, _continue=token)
          pages, names, token = pages + 1, names + [i.metadata.name for i in page.items], page.metadata._continue
          if not token: break
      assert names == ['c-%04d' % i for i in range(1000)]
      print('pages', pages, 'of', len(names))
      first = core.read_namespaced_config_map('c-0000', ns).metadata.resource_version
      w = watch.Watch()
      for event in w.stream(core.list_namespaced_config_map, ns, resource_version=first, timeout_seconds=10):
          print('resumed', event['object'].metadata.name)
          w.stop()
      try: core.list_namespaced_config_map(ns, limit=5, _continue='bm9uc2Vuc2U')
      except client.ApiException as e: print('bad token', e.status)
      """
  }
}
