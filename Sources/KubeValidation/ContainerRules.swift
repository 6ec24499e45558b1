import JSON
import KubeModel

/// What containers need to know of their pod.
struct PodContext {
  let volumes: [String: Volume]
  let claimNames: Set<String>
  let graceSeconds: Int64?
  let restartPolicy: String
  let hostUsers: Bool
}

extension FieldErrors {
  static let protocols = ["SCTP", "TCP", "UDP"]

  mutating func containers(_ containers: [Container], _ context: PodContext, _ path: FieldPath) {
    if containers.isEmpty { return required(path) }
    var names: Set<String> = []
    for (index, container) in containers.enumerated() {
      let at = path[index]
      self.container(container, context, at)
      if !names.insert(container.name).inserted { duplicate(at["name"], container.name) }
      longRunning(container, context, at)
      if container.restartPolicy != nil, container.restartPolicyRules.isEmpty {
        choice(at["restartPolicy"], container.restartPolicy, of: ["Always", "Never", "OnFailure"])
      }
    }
    hostPorts(containers, path)
  }

  mutating func initContainers(
    _ containers: [Container], besides regular: [Container], _ context: PodContext, _ path: FieldPath
  ) {
    var names = Set(regular.map(\.name))
    for (index, container) in containers.enumerated() {
      let at = path[index]
      self.container(container, context, at)
      choice(at["restartPolicy"], container.restartPolicy, of: ["Always", "Never", "OnFailure"])
      if !container.name.isEmpty, !names.insert(container.name).inserted { duplicate(at["name"], container.name) }
      hostPorts([container], path)
      if container.restartPolicy == "Always" {
        longRunning(container, context, at)
      } else {
        let why = "may not be set for init containers without restartPolicy=Always"
        if container.lifecycle != nil { forbidden(at["lifecycle"], why) }
        if container.livenessProbe != nil { forbidden(at["livenessProbe"], why) }
        if container.readinessProbe != nil { forbidden(at["readinessProbe"], why) }
        if container.startupProbe != nil { forbidden(at["startupProbe"], why) }
      }
    }
  }

  /// What every container must have.
  private mutating func container(_ container: Container, _ context: PodContext, _ path: FieldPath) {
    if container.name.isEmpty { required(path["name"]) } else { dnsLabel(path["name"], container.name) }
    if (container.image ?? "").isEmpty { required(path["image"]) }
    choice(
      path["terminationMessagePolicy"], container.terminationMessagePolicy, of: ["File", "FallbackToLogsOnError"])
    ports(container.ports, path["ports"])
    environment(container.env, path["env"])
    environmentSources(container.envFrom, path["envFrom"])
    mounts(container, context, path["volumeMounts"])
    devices(container, context, path["volumeDevices"])
    choice(path["imagePullPolicy"], container.imagePullPolicy, of: ["Always", "IfNotPresent", "Never"])
    resources(container.resources, context.claimNames, path["resources"])
    resizePolicies(container.resizePolicy, context, path["resizePolicy"])
    securityContext(container.securityContext, hostUsers: context.hostUsers, path["securityContext"])
  }

  /// What only makes sense for a container that stays.
  private mutating func longRunning(_ container: Container, _ context: PodContext, _ path: FieldPath) {
    if let handler = container.lifecycle?.postStart {
      self.handler(Handler(handler), context, path["lifecycle"]["postStart"])
    }
    if let handler = container.lifecycle?.preStop {
      self.handler(Handler(handler), context, path["lifecycle"]["preStop"])
    }
    if let liveness = container.livenessProbe {
      probe(liveness, context, path["livenessProbe"])
      if let threshold = liveness.successThreshold, threshold != 1 {
        invalid(path["livenessProbe"]["successThreshold"], threshold, "must be 1")
      }
    }
    if let readiness = container.readinessProbe {
      probe(readiness, context, path["readinessProbe"])
      if let grace = readiness.terminationGracePeriodSeconds {
        invalid(
          path["readinessProbe"]["terminationGracePeriodSeconds"], grace, "must not be set for readinessProbes")
      }
    }
    if let startup = container.startupProbe {
      probe(startup, context, path["startupProbe"])
      if let threshold = startup.successThreshold, threshold != 1 {
        invalid(path["startupProbe"]["successThreshold"], threshold, "must be 1")
      }
    }
  }

  // MARK: ports

  private mutating func ports(_ ports: [ContainerPort], _ path: FieldPath) {
    var names: Set<String> = []
    for (index, port) in ports.enumerated() {
      let at = path[index]
      if let name = port.name, !name.isEmpty {
        let messages = NameRules.portName(name)
        invalid(at["name"], name, messages)
        if messages.isEmpty, !names.insert(name).inserted { duplicate(at["name"], name) }
      }
      if port.containerPort == 0 {
        required(at["containerPort"])
      } else {
        portNumber(at["containerPort"], port.containerPort)
      }
      if let hostPort = port.hostPort, hostPort != 0 { portNumber(at["hostPort"], hostPort) }
      choice(at["protocol"], port.protocol, of: Self.protocols)
    }
  }

  private mutating func hostPorts(_ containers: [Container], _ path: FieldPath) {
    var taken: Set<String> = []
    for (index, container) in containers.enumerated() {
      for (number, port) in container.ports.enumerated() {
        guard let hostPort = port.hostPort, hostPort != 0 else { continue }
        let key = "\(port.protocol ?? "TCP")/\(port.hostIP ?? "")/\(hostPort)"
        if !taken.insert(key).inserted { duplicate(path[index]["ports"][number]["hostPort"], key) }
      }
    }
  }

  // MARK: probes and hooks

  /// The one thing a probe or a hook does.
  private struct Handler {
    var exec: ExecAction?
    var httpGet: HTTPGetAction?
    var tcpSocket: TCPSocketAction?
    var grpc: GRPCAction?
    var sleep: SleepAction?

    init(_ probe: Probe) {
      (exec, httpGet, tcpSocket, grpc) = (probe.exec, probe.httpGet, probe.tcpSocket, probe.grpc)
    }
    init(_ hook: LifecycleHandler) {
      (exec, httpGet, tcpSocket, sleep) = (hook.exec, hook.httpGet, hook.tcpSocket, hook.sleep)
    }
  }

  private mutating func probe(_ probe: Probe, _ context: PodContext, _ path: FieldPath) {
    handler(Handler(probe), context, path)
    notNegative(path["initialDelaySeconds"], probe.initialDelaySeconds)
    notNegative(path["timeoutSeconds"], probe.timeoutSeconds)
    notNegative(path["periodSeconds"], probe.periodSeconds)
    notNegative(path["successThreshold"], probe.successThreshold)
    notNegative(path["failureThreshold"], probe.failureThreshold)
    if let grace = probe.terminationGracePeriodSeconds, grace <= 0 {
      invalid(path["terminationGracePeriodSeconds"], grace, "must be greater than 0")
    }
  }

  private mutating func handler(_ handler: Handler, _ context: PodContext, _ path: FieldPath) {
    var kinds = 0
    /// True for the first kind; a second one is refused.
    func isFirst(_ name: String, _ errors: inout FieldErrors) -> Bool {
      kinds += 1
      if kinds > 1 { errors.forbidden(path[name], "may not specify more than 1 handler type") }
      return kinds == 1
    }
    if let exec = handler.exec, isFirst("exec", &self), exec.command.isEmpty { required(path["exec"]["command"]) }
    if let httpGet = handler.httpGet, isFirst("httpGet", &self) { self.httpGet(httpGet, path["httpGet"]) }
    if let tcp = handler.tcpSocket, isFirst("tcpSocket", &self) { port(path["tcpSocket"]["port"], tcp.port) }
    if let grpc = handler.grpc, isFirst("grpc", &self) { portNumber(path["grpc"]["port"], grpc.port) }
    if let sleep = handler.sleep, isFirst("sleep", &self), let grace = context.graceSeconds,
      sleep.seconds < 0 || sleep.seconds > grace
    {
      invalid(
        path["sleep"], sleep.seconds, "must be non-negative and less than terminationGracePeriodSeconds (\(grace))")
    }
    if kinds == 0 { required(path, "must specify a handler type") }
  }

  private mutating func httpGet(_ action: HTTPGetAction, _ path: FieldPath) {
    if let target = action.path, target.isEmpty { required(path["path"]) }
    port(path["port"], action.port)
    choice(path["scheme"], action.scheme, of: ["HTTP", "HTTPS"])
    for header in action.httpHeaders { invalid(path["httpHeaders"], header.name, NameRules.httpHeader(header.name)) }
  }

  private mutating func resizePolicies(
    _ policies: [ContainerResizePolicy], _ context: PodContext, _ path: FieldPath
  ) {
    var seen: Set<String> = []
    for (index, policy) in policies.enumerated() {
      if !seen.insert(policy.resourceName).inserted { duplicate(path[index], policy.resourceName) }
      if policy.resourceName.isEmpty || policy.restartPolicy.isEmpty { required(path) }
      choice(path, policy.resourceName, of: ["cpu", "memory"])
      choice(path, policy.restartPolicy, of: ["NotRequired", "RestartContainer"])
      if context.restartPolicy == "Never", policy.restartPolicy != "NotRequired" {
        invalid(path, policy.restartPolicy, "must be 'NotRequired' when `restartPolicy` is 'Never'")
      }
    }
  }
}
