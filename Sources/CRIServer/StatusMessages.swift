internal import CRIModel
internal import ContainerPlan
internal import JSON
internal import OCISpec
internal import PodRuntime

/// Snapshots of the runtime as CRI's messages. Pure.
enum StatusMessages {
  static func metadata(_ identity: SandboxIdentity) -> CRIPodSandboxMetadata {
    var message = CRIPodSandboxMetadata()
    message.name = identity.name
    message.namespace = identity.namespace
    message.uid = identity.uid
    message.attempt = identity.attempt
    return message
  }

  static func sandbox(_ snapshot: SandboxSnapshot) -> CRIPodSandbox {
    var message = CRIPodSandbox()
    message.id = snapshot.id
    message.metadata = metadata(snapshot.config.identity)
    message.state = snapshot.isReady ? .sandboxReady : .sandboxNotready
    message.createdAt = snapshot.record.createdAt
    message.labels = snapshot.config.labels
    message.annotations = snapshot.config.annotations
    message.runtimeHandler = snapshot.config.runtimeHandler
    return message
  }

  static func sandboxStatus(_ snapshot: SandboxSnapshot) -> CRIPodSandboxStatus {
    var message = CRIPodSandboxStatus()
    message.id = snapshot.id
    message.metadata = metadata(snapshot.config.identity)
    message.state = snapshot.isReady ? .sandboxReady : .sandboxNotready
    message.createdAt = snapshot.record.createdAt
    let addresses = [snapshot.addresses.ipv4, snapshot.addresses.ipv6].compactMap { $0 }
    var network = CRIPodSandboxNetworkStatus()
    network.ip = addresses.first ?? ""
    network.additionalIps = addresses.dropFirst().map { address in
      var entry = CRIPodIP()
      entry.ip = address
      return entry
    }
    message.network = network
    var options = CRINamespaceOption()
    options.network = mode(snapshot.config.network)
    options.pid = mode(snapshot.config.processes)
    options.ipc = mode(snapshot.config.interprocess)
    options.usernsOptions = UserNamespaceReader.message(snapshot.config.users)
    message.linux.namespaces.options = options
    message.labels = snapshot.config.labels
    message.annotations = snapshot.config.annotations
    message.runtimeHandler = snapshot.config.runtimeHandler
    return message
  }

  private static func mode(_ choice: NamespaceChoice) -> CRINamespaceMode {
    switch choice {
    case .pod: .pod
    case .container: .container
    case .node: .node
    case .target: .target
    }
  }

  /// What `crictl inspectp` shows beside the status.
  static func sandboxInfo(_ snapshot: SandboxSnapshot) -> [String: String] {
    let config = snapshot.config
    let info: JSONValue = [
      "pid": .integer(Int64(snapshot.shimPID)), "phase": .string("\(snapshot.phase)"), "runtimeType": "martlet",
      "runtimeHandler": .string(config.runtimeHandler),
      "netNamespace": .string(snapshot.addresses.namespacePath ?? ""),
      "hostLink": .string(snapshot.addresses.hostLink ?? ""), "cgroupPath": .string(snapshot.record.cgroupPath),
      "cgroupParent": .string(config.cgroupParent), "hostname": .string(config.hostname),
      "logDirectory": .string(config.logDirectory), "sysctls": JSONValue(config.sysctls),
      "privileged": .bool(config.privileged),
      "hostPorts": .array(
        config.hostPorts.map {
          .string("\($0.hostAddress):\($0.hostPort)->\($0.containerPort)/\($0.transport.rawValue)")
        }),
    ]
    return ["info": info.encodedString()]
  }

  static func state(_ snapshot: ContainerSnapshot) -> CRIContainerState {
    switch snapshot.phase {
    case .created, .starting: .containerCreated
    case .running: .containerRunning
    case .exited: .containerExited
    case .removing, .removed: .containerUnknown
    }
  }

  private static func metadata(_ config: ContainerConfig) -> CRIContainerMetadata {
    var message = CRIContainerMetadata()
    message.name = config.name
    message.attempt = config.attempt
    return message
  }

  private static func image(_ config: ContainerConfig) -> CRIImageSpec {
    var message = CRIImageSpec()
    message.image = config.image
    message.userSpecifiedImage = config.userSpecifiedImage
    return message
  }

  static func container(_ snapshot: ContainerSnapshot) -> CRIContainer {
    var message = CRIContainer()
    message.id = snapshot.id
    message.podSandboxID = snapshot.sandboxID
    message.metadata = metadata(snapshot.config)
    message.image = image(snapshot.config)
    message.imageRef = snapshot.config.imageID
    message.imageID = snapshot.config.imageID
    message.state = state(snapshot)
    message.createdAt = snapshot.record.createdAt
    message.labels = snapshot.config.labels
    message.annotations = snapshot.config.annotations
    return message
  }

  static func containerStatus(_ snapshot: ContainerSnapshot) -> CRIContainerStatus {
    let config = snapshot.config
    var message = CRIContainerStatus()
    message.id = snapshot.id
    message.metadata = metadata(config)
    message.state = state(snapshot)
    message.createdAt = snapshot.record.createdAt
    message.startedAt = snapshot.startedAt
    if let exit = snapshot.exit {
      message.finishedAt = exit.finishedAt
      message.exitCode = exit.code
      message.reason = exit.reason
      message.message = exit.message
    }
    message.image = image(config)
    message.imageRef = config.imageID
    message.imageID = config.imageID
    message.labels = config.labels
    message.annotations = config.annotations
    message.mounts = config.mounts.map(mount)
    message.logPath = config.logPath
    message.resources.linux = ResourceReader.message(config.resources)
    message.user.linux.uid = Int64(config.user.uid)
    message.user.linux.gid = Int64(config.user.gid)
    message.user.linux.supplementalGroups = config.user.additionalGroups.map { Int64($0) }
    message.stopSignal = StopSignal.signal(config.stopSignal)
    return message
  }

  private static func mount(_ note: MountNote) -> CRIMount {
    var message = CRIMount()
    message.containerPath = note.containerPath
    message.hostPath = note.hostPath
    message.readonly = note.isReadOnly
    message.recursiveReadOnly = note.isRecursivelyReadOnly
    if !note.imageID.isEmpty {
      message.image.image = note.image
      message.image.imageRef = note.imageID
      message.imageSubPath = note.imageSubPath
    }
    message.propagation =
      switch note.propagation {
      case "hostToContainer": .propagationHostToContainer
      case "bidirectional": .propagationBidirectional
      default: .propagationPrivate
      }
    return message
  }

  /// What `crictl inspect` shows beside the status.
  static func containerInfo(
    _ snapshot: ContainerSnapshot, _ sandbox: SandboxSnapshot?, writableLayer: String
  ) -> [String: String] {
    let config = snapshot.config
    let info: JSONValue = [
      "pid": .integer(Int64(snapshot.pid)), "sandboxID": .string(snapshot.sandboxID),
      "phase": .string("\(snapshot.phase)"), "runtimeType": "martlet", "imageID": .string(config.imageID),
      "cgroupPath": .string(sandbox.map { "\($0.record.cgroupPath)/\(snapshot.id)" } ?? ""),
      "writableLayer": .string(writableLayer), "stopSignal": .integer(Int64(config.stopSignal)),
      "stdin": .bool(config.stdin), "stdinOnce": .bool(config.stdinOnce), "tty": .bool(config.terminal),
      "user": [
        "uid": .integer(Int64(config.user.uid)), "gid": .integer(Int64(config.user.gid)),
        "additionalGids": .array(config.user.additionalGroups.map { .integer(Int64($0)) }),
      ],
    ]
    return ["info": info.encodedString()]
  }
}

/// Filters of the list calls. An absent field lets everything pass; an id may be a prefix.
enum ListFilter {
  static func passes(_ snapshot: SandboxSnapshot, _ filter: CRIPodSandboxFilter) -> Bool {
    if !filter.id.isEmpty && !snapshot.id.hasPrefix(filter.id) { return false }
    if filter.hasState && (filter.state.state == .sandboxReady) != snapshot.isReady { return false }
    return labels(snapshot.config.labels, filter.labelSelector)
  }

  static func passes(_ snapshot: ContainerSnapshot, _ filter: CRIContainerFilter) -> Bool {
    if !filter.id.isEmpty && !snapshot.id.hasPrefix(filter.id) { return false }
    if !filter.podSandboxID.isEmpty && !snapshot.sandboxID.hasPrefix(filter.podSandboxID) { return false }
    if filter.hasState && filter.state.state != StatusMessages.state(snapshot) { return false }
    return labels(snapshot.config.labels, filter.labelSelector)
  }

  static func labels(_ labels: [String: String], _ selector: [String: String]) -> Bool {
    selector.allSatisfy { labels[$0.key] == $0.value }
  }
}
