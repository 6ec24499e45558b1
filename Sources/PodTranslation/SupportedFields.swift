package import JSON
package import KubeModel

/// The fields of a kind that are honoured. What is set and not listed is refused by name.
package struct SupportedFields: Sendable {
  private indirect enum Node: Sendable {
    /// Everything below is taken.
    case all
    case fields([String: Node])
  }
  private var root: Node = .fields([:])

  /// - Parameter patterns: as `spec.containers[].image`; `{a,b}` at the end is several names; `.*` is all that is below.
  package init(_ patterns: [String]) {
    for pattern in patterns {
      for path in Self.expand(pattern) {
        root = Self.insert(path.split(separator: ".").flatMap(Self.steps)[...], into: root)
      }
    }
  }

  private static func expand(_ pattern: String) -> [String] {
    guard let open = pattern.firstIndex(of: "{"), pattern.last == "}" else { return [pattern] }
    let names = pattern[pattern.index(after: open)...].dropLast().split(separator: ",")
    return names.map { pattern[..<open] + $0.filter { $0 != " " && $0 != "\n" } }
  }

  private static func steps(_ word: Substring) -> [String] {
    word.hasSuffix("[]") ? [String(word.dropLast(2)), "[]"] : [String(word)]
  }

  private static func insert(_ path: ArraySlice<String>, into node: Node) -> Node {
    guard let first = path.first, first != "*" else { return .all }
    guard case .fields(var fields) = node else { return .all }
    fields[first] = insert(path.dropFirst(), into: fields[first] ?? .fields([:]))
    return .fields(fields)
  }

  /// One problem for each place in `value` that is not honoured.
  package func refusals(in value: JSONValue) -> [FieldProblem] {
    var found: [FieldProblem] = []
    Self.walk(value, root, path: "", into: &found)
    return found
  }

  private static func walk(_ value: JSONValue, _ node: Node, path: String, into found: inout [FieldProblem]) {
    guard case .fields(let fields) = node, found.count < FieldDecoder.problemsMax else { return }
    switch value {
    case .object(let object):
      for (key, item) in object.members {
        let place = path.isEmpty ? key : "\(path).\(key)"
        if let next = fields[key] {
          walk(item, next, path: place, into: &found)
        } else if !item.isNull {
          found.append(FieldProblem(path: place, kind: .notSupported("")))
        }
      }
    case .array(let items):
      guard let next = fields["[]"] else { return }
      for (index, item) in items.enumerated() { walk(item, next, path: "\(path)[\(index)]", into: &found) }
    default: break
    }
  }
}

extension SupportedFields {
  /// Facts that a server wrote into an object; they ask nothing of a node.
  private static let metadata = [
    "apiVersion", "kind", "metadata.labels.*", "metadata.annotations.*", "metadata.managedFields.*",
    "metadata.{name,namespace,uid,creationTimestamp,resourceVersion,generation,selfLink}", "status.*",
  ]
  private static let probe = [
    "exec.*", "httpGet.*", "tcpSocket.*", "grpc.*",
    "{initialDelaySeconds,periodSeconds,timeoutSeconds,successThreshold,failureThreshold,terminationGracePeriodSeconds}",
  ]
  private static let projections = ["secret.*", "configMap.*", "downwardAPI.*"]
  /// Of a pod of an API server, which alone has them.
  private static let servedVolume = [
    "projected.sources[].serviceAccountToken.*", "persistentVolumeClaim.*", "ephemeral.volumeClaimTemplate.*",
  ]
  private static let container: [String] =
    [
      "{name,image,imagePullPolicy,workingDir,tty,stdin,stdinOnce,restartPolicy}",
      "{terminationMessagePath,terminationMessagePolicy}", "command.*", "args.*", "ports.*", "envFrom.*",
      "resources.limits.*", "resources.requests.*", "volumeMounts.*",
      "env[].{name,value}", "env[].valueFrom.fieldRef.*", "env[].valueFrom.resourceFieldRef.*",
      "env[].valueFrom.configMapKeyRef.*", "env[].valueFrom.secretKeyRef.*",
      "lifecycle.stopSignal", "lifecycle.postStart.exec.*", "lifecycle.postStart.httpGet.*",
      "lifecycle.postStart.sleep.*", "lifecycle.preStop.exec.*", "lifecycle.preStop.httpGet.*",
      "lifecycle.preStop.sleep.*", "securityContext.capabilities.*", "securityContext.seccompProfile.*",
      "securityContext.{allowPrivilegeEscalation,privileged,procMount,readOnlyRootFilesystem}",
      "securityContext.{runAsGroup,runAsNonRoot,runAsUser}", "securityContext.appArmorProfile.*",
      "securityContext.seLinuxOptions.*", "restartPolicyRules.*",
    ] + ["livenessProbe", "readinessProbe", "startupProbe"].flatMap { name in probe.map { "\(name).\($0)" } }
  private static let volume: [String] =
    ["name", "emptyDir.*", "hostPath.*", "image.*", "projected.defaultMode"] + projections
    + projections.map { "projected.sources[].\($0)" }

  /// Of a Pod in a manifest.
  package static let pod = SupportedFields(podFields)

  /// Of a Pod of an API server: there, others read what says where it shall run and who owns it.
  package static let servedPod = SupportedFields(
    podFields + ["metadata.*"]
      + container.map { "spec.ephemeralContainers[].\($0)" } + ["spec.ephemeralContainers[].targetContainerName"]
      + servedVolume.map { "spec.volumes[].\($0)" }
      + ["containers", "initContainers"].map { "spec.\($0)[].resizePolicy.*" } + [
        "spec.nodeSelector.*", "spec.affinity.*", "spec.topologySpreadConstraints.*", "spec.schedulingGates.*",
        "spec.readinessGates.*", "spec.imagePullSecrets.*",
        "spec.{serviceAccountName,serviceAccount,priorityClassName}",
      ])

  private static let podFields: [String] =
    metadata + container.map { "spec.containers[].\($0)" } + container.map { "spec.initContainers[].\($0)" }
    + volume.map { "spec.volumes[].\($0)" } + [
      "spec.{activeDeadlineSeconds,dnsPolicy,enableServiceLinks,hostIPC,hostNetwork,hostPID,hostUsers,hostname}",
      "spec.{hostnameOverride,nodeName,restartPolicy,setHostnameAsFQDN,shareProcessNamespace,subdomain}",
      "spec.{terminationGracePeriodSeconds,automountServiceAccountToken}", "spec.dnsConfig.*", "spec.hostAliases.*",
      "spec.os.*",
      "spec.securityContext.{fsGroup,fsGroupChangePolicy,runAsGroup,runAsNonRoot,runAsUser}",
      "spec.securityContext.{supplementalGroups,supplementalGroupsPolicy}", "spec.securityContext.seccompProfile.*",
      "spec.securityContext.appArmorProfile.*", "spec.securityContext.seLinuxOptions.*",
      "spec.securityContext.sysctls.*",
      // What only a scheduler reads, and what says how pods rank when a node is full.
      "spec.{schedulerName,priority,preemptionPolicy}", "spec.tolerations.*",
    ]

  /// Of a ConfigMap and a Secret.
  package static let configMap = SupportedFields(metadata + ["data.*", "binaryData.*", "immutable"])
  package static let secret = SupportedFields(metadata + ["data.*", "stringData.*", "type", "immutable"])
  /// Of a Service: a virtual address in front of pods of this node.
  package static let service = SupportedFields(
    metadata + [
      "spec.{clusterIP,type,ipFamilyPolicy,internalTrafficPolicy,sessionAffinity,publishNotReadyAddresses}",
      "spec.clusterIPs.*", "spec.ipFamilies.*", "spec.selector.*",
      "spec.ports[].{name,port,protocol,targetPort,appProtocol}",
    ])
}
