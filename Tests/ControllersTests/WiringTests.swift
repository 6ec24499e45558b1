import JSON
import Kernel
import KubeClient
import KubeModel
import Logging
import Testing

@testable import Controllers

/// The controllers whole, against an API in memory.
@Suite struct WiringTests {
  /// Runs the controllers while `body` runs; they must end when told to.
  ///
  /// - Parameter informers: of somebody else, who runs them here beside the controllers; nil: their own.
  private func controlling(
    _ api: FakeAPI, informers: Informers? = nil, _ body: @escaping @Sendable () async throws -> Void
  ) async throws {
    var configuration = ControllersConfiguration()
    configuration.clusterCIDRs = ["10.244.0.0/16"]
    configuration.nodePrefixLengths = [.ipv4: 24]
    let controllers = Controllers(
      client: api.client, informers: informers, configuration: configuration,
      logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    try await withThrowingTaskGroup(of: Void.self) { group in
      if let informers { group.addTask { try? await informers.run() } }
      group.addTask { try? await controllers.run() }
      try await body()
      group.cancelAll()
    }
  }

  /// Waits until something holds, up to 20 s.
  private func eventually(_ what: String, _ holds: @escaping @Sendable () async throws -> Bool) async throws {
    for _ in 0..<2000 {
      if try await holds() { return }
      try await Task.sleep(for: .milliseconds(10))
    }
    Issue.record("never: \(what)")
  }

  /// As nodes do: pods start at once, and those that are deleted are gone.
  private func runPods(_ api: FakeAPI) async throws {
    for var pod in api.all(Pod.self) {
      if pod.metadata.isDeleting {
        _ = try? await api.client.delete(
          Pod.self, name: pod.metadata.name ?? "", namespace: pod.metadata.namespace, graceSeconds: 0)
      } else if !pod.isReady {
        pod.spec.nodeName = "n1"
        pod.status.phase = "Running"
        pod.status.conditions = [Make.condition("True", since: 1)]
        pod.status.podIP = "10.244.0.\(pod.metadata.uid?.dropFirst(4) ?? "1")"
        api.put(pod)
      }
    }
  }

  private func deployment(image: String = "v1") -> Deployment {
    var deployment = Make.deployment(image: image)
    (deployment.metadata.uid, deployment.metadata.resourceVersion, deployment.metadata.generation) = (nil, nil, nil)
    return deployment
  }

  @Test func aDeploymentBecomesPodsAndEndpointsAndGoesWithThem() async throws {
    let api = FakeAPI()
    var service = Service()
    service.metadata.name = "web"
    service.metadata.namespace = "default"
    service.spec.selector = ["app": "web"]
    service.spec.clusterIP = "10.96.0.9"
    var port = ServicePort()
    port.port = 80
    service.spec.ports = [port]
    let made = service
    try await controlling(api) {
      _ = try await api.client.create(made)
      _ = try await api.client.create(deployment())
      try await eventually("three pods") { api.all(Pod.self).count == 3 }
      try await runPods(api)
      try await eventually("available") {
        api.all(Deployment.self).first?.status.condition("Progressing")?.reason == "NewReplicaSetAvailable"
      }
      try await eventually("endpoints") {
        api.all(EndpointSlice.self).flatMap(\.endpoints).filter { $0.conditions.ready == true }.count == 3
      }
      #expect(api.all(EndpointSlice.self).count == 1)
      #expect(api.all(Deployment.self).first?.metadata.annotations[DeploymentAnnotations.revision] == "1")
      try await eventually("events") {
        let reasons = Set(api.all(Event.self).compactMap(\.reason))
        return reasons.isSuperset(of: ["ScalingReplicaSet", "SuccessfulCreate"])
      }
      try await api.client.delete(Deployment.self, name: "web", namespace: "default", propagation: .background)
      try await eventually("pods told to go") { api.all(Pod.self).allSatisfy(\.metadata.isDeleting) }
      try await eventually("out of service before they are gone") {
        api.all(EndpointSlice.self).flatMap(\.endpoints).allSatisfy {
          $0.conditions.ready == false && $0.conditions.terminating == true
        }
      }
      try await runPods(api)
      try await eventually("nothing left") { api.all(Pod.self).isEmpty && api.all(ReplicaSet.self).isEmpty }
    }
    #expect(api.writes.filter { $0 == "POST /api/v1/namespaces/default/pods" }.count == 3)
    #expect(api.writes.filter { $0.hasPrefix("POST /apis/apps/v1/namespaces/default/replicasets") }.count == 1)
  }

  @Test func aRolloutEndsWithTheNewPodsAlone() async throws {
    let api = FakeAPI()
    try await controlling(api) {
      _ = try await api.client.create(deployment())
      try await eventually("the first three run") {
        try await runPods(api)
        return api.all(Deployment.self).first?.status.availableReplicas == 3
      }
      var changed: Deployment = try await api.client.get(name: "web", namespace: "default")
      changed.spec.template = Make.template(image: "v2")
      let wanted = changed.spec
      _ = try await api.client.update(retrying: changed) { fresh in
        fresh.spec = wanted
        return true
      }
      try await eventually("the second three run") {
        try await runPods(api)
        let pods = api.all(Pod.self)
        return pods.count == 3 && pods.allSatisfy { $0.spec.containers[0].image == "v2" && $0.isReady }
      }
      try await eventually("complete") {
        api.all(Deployment.self).first?.status.condition("Progressing")?.reason == "NewReplicaSetAvailable"
          && api.all(Deployment.self).first?.metadata.annotations[DeploymentAnnotations.revision] == "2"
      }
    }
    #expect(api.all(ReplicaSet.self).map { $0.spec.replicas ?? -1 }.sorted() == [0, 3])
  }

  @Test func refusedCallsAreToldAndTriedAgain() async throws {
    let api = FakeAPI()
    api.fail("POST /api/v1/namespaces/default/pods", times: 2)
    api.fail("PUT /apis/apps/v1/namespaces/default/deployments/web/status", times: 2)
    try await controlling(api) {
      _ = try await api.client.create(deployment())
      try await eventually("three pods all the same") { api.all(Pod.self).count == 3 }
      try await eventually("told") { api.all(Event.self).contains { $0.reason == "FailedCreate" } }
      try await eventually("no failure left") {
        api.all(ReplicaSet.self).first?.status.conditions.isEmpty == true
          && api.all(ReplicaSet.self).first?.status.replicas == 3
      }
    }
  }

  @Test func aForegroundDeletionTakesThePodsFirst() async throws {
    let api = FakeAPI()
    try await controlling(api) {
      _ = try await api.client.create(deployment())
      try await eventually("three pods") { api.all(Pod.self).count == 3 }
      try await runPods(api)
      try await api.client.delete(Deployment.self, name: "web", namespace: "default", propagation: .foreground)
      try await eventually("pods told to go") {
        !api.all(Pod.self).isEmpty && api.all(Pod.self).allSatisfy(\.metadata.isDeleting)
      }
      #expect(!api.all(Deployment.self).isEmpty && !api.all(ReplicaSet.self).isEmpty)
      try await runPods(api)
      try await eventually("all gone") {
        api.all(Deployment.self).isEmpty && api.all(ReplicaSet.self).isEmpty && api.all(Pod.self).isEmpty
      }
    }
  }

  @Test func aNamespaceIsEmptiedAndThenGone() async throws {
    let api = FakeAPI()
    var namespace = Namespace()
    namespace.metadata.name = "default"
    namespace.spec.finalizers = ["kubernetes"]
    let made = namespace
    try await controlling(api) {
      _ = try await api.client.create(made)
      _ = try await api.client.create(deployment())
      var map = ConfigMap()
      (map.metadata.name, map.metadata.namespace) = ("held", "default")
      map.metadata.finalizers = ["example.com/hold"]
      _ = try await api.client.create(map)
      try await eventually("three pods") { api.all(Pod.self).count == 3 }
      try await api.client.delete(Namespace.self, name: "default")
      try await eventually("only what is held") {
        api.all(Pod.self).isEmpty && api.all(Deployment.self).isEmpty && api.all(ConfigMap.self).count == 1
      }
      try await eventually("says why it waits") {
        api.all(Namespace.self).first?.status.conditions.contains {
          $0.type == "NamespaceFinalizersRemaining" && $0.status == "True"
        } == true
      }
      let _: ConfigMap = try await api.client.patch(
        name: "held", namespace: "default", .merge(["metadata": ["finalizers": .null]]))
      try await eventually("gone") { api.all(Namespace.self).isEmpty }
    }
  }

  @Test func aNewNodeIsKeptFreeUntilReadyAndGetsAddresses() async throws {
    let api = FakeAPI()
    try await controlling(api) {
      for name in ["n1", "n2"] {
        var node = Node()
        node.metadata.name = name
        _ = try await api.client.create(node)
      }
      try await eventually("addresses and taints") {
        Set(api.all(Node.self).compactMap(\.spec.podCIDR)) == ["10.244.0.0/24", "10.244.1.0/24"]
          && api.all(Node.self).allSatisfy { $0.spec.taints.map(\.key) == [NodeTaints.notReady] }
      }
      for var node in api.all(Node.self) {
        var condition = NodeCondition()
        (condition.type, condition.status) = ("Ready", "True")
        node.status.conditions = [condition]
        api.put(node)
      }
      try await eventually("taints gone") { api.all(Node.self).allSatisfy(\.spec.taints.isEmpty) }
      try await eventually("told") { api.all(Event.self).contains { $0.reason == "RegisteredNode" } }
    }
  }

  @Test func informersMayBeSharedWithOthers() async throws {
    let api = FakeAPI()
    let informers = Informers(client: api.client)
    // As the scheduler has one: made first, without the indexes that the controllers add.
    let pods: Informer<Pod> = informers.informer()
    _ = try await api.client.create(deployment())
    try await controlling(api, informers: informers) {
      try await eventually("pods") { api.all(Pod.self).count == 3 }
      try await eventually("seen by the other") { pods.count == 3 && pods.rounds.lists == 1 }
    }
  }

  @Test func configurationThatCannotBeUsedIsRefusedAtOnce() async {
    var configuration = ControllersConfiguration()
    configuration.clusterCIDRs = ["nonsense"]
    let controllers = Controllers(client: FakeAPI().client, configuration: configuration)
    await #expect(throws: PodAddressing.Refusal.self) { try await controllers.run() }
  }

  @Test func aJobEndsAndItsPodsAreFreed() async throws {
    let api = FakeAPI()
    try await controlling(api) {
      var job = JobTests.job(completions: 2, parallelism: 2)
      job.metadata.uid = nil
      _ = try await api.client.create(job)
      try await eventually("two pods") { api.all(Pod.self).count == 2 }
      for var pod in api.all(Pod.self) {
        #expect(pod.metadata.finalizers == [Job.trackingFinalizer])
        (pod.spec.nodeName, pod.status.phase) = ("n1", "Succeeded")
        api.put(pod)
      }
      try await eventually("complete") { api.all(Job.self).first?.finishedCondition?.type == "Complete" }
      #expect(api.all(Job.self).first?.status.succeeded == 2)
      #expect(api.all(Pod.self).allSatisfy { $0.metadata.finalizers.isEmpty })
    }
    #expect(api.writes.filter { $0 == "POST /api/v1/namespaces/default/pods" }.count == 2)
  }

  @Test func podsOfAJobThatIsGoneAreLetGo() async throws {
    let api = FakeAPI()
    try await controlling(api) {
      var job = JobTests.job(completions: 1, parallelism: 1)
      job.metadata.uid = nil
      _ = try await api.client.create(job)
      try await eventually("a pod") { api.all(Pod.self).count == 1 }
      try await api.client.delete(Job.self, name: "work", namespace: "default", propagation: .background)
      try await eventually("nothing left") {
        try await runPods(api)
        return api.all(Pod.self).isEmpty
      }
    }
  }

  @Test func aStatefulSetMakesItsPodsAndClaimsInOrder() async throws {
    let api = FakeAPI()
    try await controlling(api) {
      var set = StatefulSet()
      (set.metadata.name, set.metadata.namespace) = ("db", "default")
      set.spec.replicas = 2
      set.spec.selector.matchLabels = ["app": "web"]
      set.spec.template = Make.template(image: "v1")
      var claim = PersistentVolumeClaim()
      claim.metadata.name = "data"
      claim.spec.storageClassName = "local-path"
      set.spec.volumeClaimTemplates = [claim]
      _ = try await api.client.create(set)
      try await eventually("the first pod") { api.all(Pod.self).map(\.metadata.name) == ["db-0"] }
      #expect(api.all(PersistentVolumeClaim.self).map(\.metadata.name) == ["data-db-0"])
      try await eventually("the second") {
        try await runPods(api)
        return api.all(Pod.self).count == 2
      }
      try await eventually("ready") {
        try await runPods(api)
        return api.all(StatefulSet.self).first?.status.readyReplicas == 2
      }
      #expect(api.all(ControllerRevision.self).map(\.revision) == [1])
      #expect(api.all(StorageClass.self).map(\.metadata.name) == ["local-path"])
    }
    #expect(api.writes.filter { $0 == "POST /api/v1/namespaces/default/pods" }.count == 2)
  }
}
