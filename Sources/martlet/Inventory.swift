import CRIClient
import CRIModel
import JSON

/// The pods and containers of the node at one moment, and how people name them.
struct Inventory: Sendable {
  struct Pod: Equatable, Sendable {
    var id: String
    var namespace: String
    var name: String
    var uid = ""
    var attempt: UInt32 = 0
    var ready: Bool
    var createdNanoseconds: Int64
    var addresses: [String] = []
    var labels: [String: String] = [:]

    /// As "namespace/name".
    var path: String { "\(namespace)/\(name)" }
  }

  struct Container: Equatable, Sendable {
    enum State: String, Sendable { case created, running, exited, unknown }
    var id: String
    var podID: String
    var name: String
    var attempt: UInt32 = 0
    var image: String
    var state: State
    var createdNanoseconds: Int64
    /// Only of exited containers that were asked about.
    var exit: Exit?
    var labels: [String: String] = [:]
  }

  struct Exit: Equatable, Sendable {
    var code: Int32
    var reason: String
    var finishedNanoseconds: Int64
  }

  var pods: [Pod]
  var containers: [Container]

  /// Asks the daemon for both lists.
  static func load(_ client: CRIClient) async throws(CRIError) -> Inventory {
    let pods = try await client.listPodSandboxes().map(Pod.init)
    let containers = try await client.listContainers().map(Container.init)
    return Inventory(pods: pods, containers: containers)
  }

  func pod(of container: Container) -> Pod? { pods.first { $0.id == container.podID } }

  /// As "namespace/pod/container".
  func path(of container: Container) -> String { "\(pod(of: container)?.path ?? "?")/\(container.name)" }

  func containers(of pod: Pod) -> [Container] {
    containers.filter { $0.podID == pod.id }
      .sorted { ($0.createdNanoseconds, $0.name) < ($1.createdNanoseconds, $1.name) }
  }
}

extension Inventory.Pod {
  init(_ pod: CRIPodSandbox) {
    self.init(
      id: pod.id, namespace: pod.metadata.namespace, name: pod.metadata.name, uid: pod.metadata.uid,
      attempt: pod.metadata.attempt, ready: pod.state == .sandboxReady, createdNanoseconds: pod.createdAt,
      labels: pod.labels)
  }
}

extension Inventory.Container {
  init(_ container: CRIContainer) {
    let state: State =
      switch container.state {
      case .containerCreated: .created
      case .containerRunning: .running
      case .containerExited: .exited
      default: .unknown
      }
    let asked = container.image.userSpecifiedImage.isEmpty ? container.image.image : container.image.userSpecifiedImage
    self.init(
      id: container.id, podID: container.podSandboxID, name: container.metadata.name,
      attempt: container.metadata.attempt, image: asked, state: state, createdNanoseconds: container.createdAt,
      labels: container.labels)
  }
}

// MARK: What a person typed

extension Inventory {
  /// A pod or container that a word names.
  enum Target: Equatable, Sendable {
    case pod(Pod)
    case container(Container)
  }

  /// The one pod or container that `word` names.
  ///
  /// A word may be an id or the beginning of one, a pod as `name` or `namespace/name`, a container as `name`,
  /// `pod/container` or `namespace/pod/container`. A full name wins over the beginning of an id. Of containers with
  /// the same name in one pod (restarts) the newest is meant.
  /// - Throws: `Failure` with code 3 where nothing matches, and with the candidates where several do.
  func find(_ word: String) throws(Failure) -> Target {
    let named = podsNamed(word).map(Target.pod) + containersNamed(word).map(Target.container)
    if let target = try one(of: named, word) { return target }
    let prefixed =
      pods.filter { $0.id.hasPrefix(word) }.map(Target.pod)
      + containers.filter { $0.id.hasPrefix(word) }.map(Target.container)
    if !word.isEmpty, let target = try one(of: prefixed, word) { return target }
    throw Failure("no pod or container \(word)", hint: "see what is there: martlet ps -a", code: Failure.notFoundCode)
  }

  /// The one container that `word` names; of a pod its only one, or the one named `container`.
  func container(_ word: String, in container: String? = nil) throws(Failure) -> Container {
    switch try find(word) {
    case .container(let found):
      if let container, found.name != container { throw Failure("\(word) is the container \(found.name)") }
      return found
    case .pod(let pod):
      let inside = newest(containers(of: pod).filter { container == nil || $0.name == container })
      if inside.count == 1 { return inside[0] }
      if let container, inside.isEmpty {
        throw Failure("pod \(pod.path) has no container \(container)", code: Failure.notFoundCode)
      }
      if inside.isEmpty { throw Failure("pod \(pod.path) has no containers", code: Failure.notFoundCode) }
      let names = inside.map(\.name).joined(separator: ", ")
      throw Failure("pod \(pod.path) has several containers: \(names)", hint: "choose one with --container NAME")
    }
  }

  /// The one pod that `word` names; of a container its pod.
  func pod(_ word: String) throws(Failure) -> Pod {
    let named = podsNamed(word)
    let found = named.isEmpty ? pods.filter { !word.isEmpty && $0.id.hasPrefix(word) } : named
    if case .pod(let pod) = try one(of: found.map(Target.pod), word) { return pod }
    throw Failure("no pod \(word)", hint: "see what is there: martlet pod ls -a", code: Failure.notFoundCode)
  }

  private func podsNamed(_ word: String) -> [Pod] {
    let matching = pods.filter { $0.name == word || $0.path == word || $0.id == word }
    // A sandbox that was replaced stays listed beside its successor until it is collected.
    let latest = Dictionary(grouping: matching, by: \.path).values.compactMap { same in
      same.max { ($0.ready ? 1 : 0, $0.createdNanoseconds) < ($1.ready ? 1 : 0, $1.createdNanoseconds) }
    }
    return latest.sorted { $0.path < $1.path }
  }

  private func containersNamed(_ word: String) -> [Container] {
    newest(
      containers.filter { container in
        if container.name == word || container.id == word { return true }
        guard let pod = pod(of: container) else { return false }
        return "\(pod.name)/\(container.name)" == word || "\(pod.path)/\(container.name)" == word
      })
  }

  /// Of each pod's containers with one name, the newest.
  private func newest(_ containers: [Container]) -> [Container] {
    var latest: [String: Container] = [:]
    for container in containers {
      let key = "\(container.podID)/\(container.name)"
      if let other = latest[key], other.createdNanoseconds >= container.createdNanoseconds { continue }
      latest[key] = container
    }
    return latest.values.sorted { ($0.name, $0.id) < ($1.name, $1.id) }
  }

  private func one(of found: [Target], _ word: String) throws(Failure) -> Target? {
    if found.count <= 1 { return found.first }
    let shown = found.prefix(10).map { target in
      switch target {
      case .pod(let pod): "  pod        \(Units.shortID(pod.id))  \(pod.path)"
      case .container(let container): "  container  \(Units.shortID(container.id))  \(path(of: container))"
      }
    }
    let more = found.count > 10 ? "\n  and \(found.count - 10) more" : ""
    throw Failure(
      "\(word) names \(found.count) things", hint: "say which:\n" + shown.joined(separator: "\n") + more)
  }
}
