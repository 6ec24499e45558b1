package import CRIModel
package import KubeModel
internal import SwiftProtobuf

/// A Pod as requests of the Container Runtime Interface. Pure: the same input gives the same requests.
package struct PodTranslation: Sendable {
  /// Validated, with its defaults, with name, namespace and uid.
  package let pod: Pod
  package let facts: NodeFacts
  /// The name of the file that the pod came from; empty: from an API server.
  package var manifest = ""

  package init(pod: Pod, facts: NodeFacts, manifest: String = "") {
    (self.pod, self.facts, self.manifest) = (pod, facts, manifest)
  }

  package var name: String { pod.metadata.name ?? "" }
  package var namespace: String { pod.metadata.namespace ?? "default" }
  package var uid: String { pod.metadata.uid ?? "" }
  package var usesHostNetwork: Bool { pod.spec.hostNetwork == true }

  /// Where the pod's logs are.
  package var logDirectory: String { "\(facts.logRoot)/\(namespace)_\(name)_\(uid)" }

  package var qosClass: QOSClass { QOSClass(pod.spec) }

  /// The cgroup of the pod, as a kubelet names it; nil: the runtime chooses.
  package var cgroup: String? {
    if facts.usesSlices {
      // A hyphen in a slice's name is a level.
      let words = ["kubepods", qosClass.sliceName, "pod\(uid.replacing("-", with: "_")).slice"]
      return words.filter { !$0.isEmpty }.joined(separator: "-")
    }
    return facts.cgroupRoot.map { root in "\(QOSClass.cgroup(qosClass, below: root))/pod\(uid)" }
  }

  /// What the pod as a whole may use.
  package var resources: CRILinuxContainerResources { Resources.pod(pod.spec) }

  /// The same of one of its containers.
  package func resources(of container: Container) -> CRILinuxContainerResources {
    Resources.container(container.resources, pod: pod.spec, facts: facts)
  }

  /// - Parameter attempt: counts the sandboxes of one pod.
  package func sandbox(attempt: UInt32) -> CRIPodSandboxConfig {
    CRIPodSandboxConfig.with { out in
      out.metadata.name = name
      out.metadata.namespace = namespace
      out.metadata.uid = uid
      out.metadata.attempt = attempt
      out.hostname = usesHostNetwork ? "" : hostname
      out.logDirectory = logDirectory
      out.dnsConfig = dns
      out.portMappings = portMappings
      out.labels = pod.metadata.labels.merging(labels) { $1 }
      out.annotations = pod.metadata.annotations.merging(annotations) { $1 }
      out.linux.cgroupParent = cgroup ?? ""
      out.linux.securityContext = SecuritySettings.sandbox(pod.spec, facts)
      for sysctl in pod.spec.securityContext?.sysctls ?? [] { out.linux.sysctls[sysctl.name] = sysctl.value }
      out.linux.resources = Resources.pod(pod.spec)
    }
  }

  var labels: [String: String] {
    [PodKey.podName: name, PodKey.podNamespace: namespace, PodKey.podUID: uid, PodKey.agent: facts.nodeName]
  }

  private var annotations: [String: String] {
    let grace = [PodKey.graceSeconds: String(pod.spec.terminationGracePeriodSeconds ?? 30)]
    guard !manifest.isEmpty else { return grace.merging([PodKey.configSource: "api"]) { $1 } }
    return grace.merging([PodKey.configSource: "file", PodKey.manifest: manifest]) { $1 }
  }

  /// At most 63 bytes, and no hyphen or dot at the end: what the kernel and DNS take.
  private static func shortened(_ name: String) -> String {
    var short = Substring(String(decoding: name.utf8.prefix(63), as: UTF8.self))
    while short.hasSuffix("-") || short.hasSuffix(".") { short = short.dropLast() }
    return String(short)
  }

  package var hostname: String {
    if let name = pod.spec.hostnameOverride, !name.isEmpty { return name }
    let short = Self.shortened(pod.spec.hostname ?? name)
    guard pod.spec.setHostnameAsFQDN == true, let full = domainName else { return short }
    return full
  }

  /// The full name of a pod that has a subdomain.
  package var domainName: String? {
    guard let subdomain = pod.spec.subdomain, !subdomain.isEmpty else { return nil }
    return "\(Self.shortened(pod.spec.hostname ?? name)).\(subdomain).\(namespace).svc.\(facts.clusterDomain)"
  }

  private var portMappings: [CRIPortMapping] {
    guard !usesHostNetwork else { return [] }
    let sidecars = pod.spec.initContainers.filter { $0.restartPolicy == "Always" }
    return (sidecars + pod.spec.containers).flatMap(\.ports).map { port in
      CRIPortMapping.with {
        $0.containerPort = port.containerPort
        $0.hostPort = port.hostPort ?? 0
        $0.hostIp = port.hostIP ?? ""
        switch port.`protocol` {
        case "UDP": $0.protocol = .udp
        case "SCTP": $0.protocol = .sctp
        default: $0.protocol = .tcp
        }
      }
    }
  }

  private var dns: CRIDNSConfig {
    var settings = facts.hostDNS
    let ownPolicy = pod.spec.dnsPolicy ?? "ClusterFirst"
    // A pod on the host's network resolves as the host does, unless it says ClusterFirstWithHostNet.
    let cluster = ownPolicy == "ClusterFirstWithHostNet" || (ownPolicy == "ClusterFirst" && !usesHostNetwork)
    if ownPolicy == "None" {
      settings = DNSSettings()
    } else if cluster, !facts.clusterDNS.isEmpty {
      let domain = facts.clusterDomain
      settings = DNSSettings(
        servers: facts.clusterDNS,
        searches: ["\(namespace).svc.\(domain)", "svc.\(domain)", domain] + facts.hostDNS.searches, options: ["ndots:5"]
      )
    }
    if let extra = pod.spec.dnsConfig {
      settings.servers += extra.nameservers.filter { !settings.servers.contains($0) }
      settings.searches += extra.searches.filter { !settings.searches.contains($0) }
      for option in extra.options {
        let name = option.name ?? ""
        settings.options.removeAll { $0 == name || $0.hasPrefix("\(name):") }
        settings.options.append(option.value.map { "\(name):\($0)" } ?? name)
      }
    }
    return CRIDNSConfig.with {
      $0.servers = settings.servers
      $0.searches = settings.searches
      $0.options = settings.options
    }
  }

  /// The pod's /etc/hosts, which the agent mounts into each container; nil on the host's network without aliases of
  /// its own, where the runtime shows the host's.
  package func hostsFile(podIPs: [String], hostText: String) -> String? {
    var text: String
    if usesHostNetwork {
      guard !pod.spec.hostAliases.isEmpty else { return nil }
      text = hostText
      if !text.isEmpty, !text.hasSuffix("\n") { text += "\n" }
    } else {
      text = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
      text += "fe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
      let names = domainName.map { "\($0)\t\(Self.shortened(pod.spec.hostname ?? name))" } ?? hostname
      for address in podIPs { text += "\(address)\t\(names)\n" }
    }
    for alias in pod.spec.hostAliases { text += "\(alias.ip)\t\(alias.hostnames.joined(separator: "\t"))\n" }
    return text
  }

  /// Whether a container must not be root, and would be.
  package func checkNonRoot(
    _ container: Container, imageUser: Int64?, imageUserName: String
  ) throws(TranslationError) {
    try SecuritySettings.checkNonRoot(container, pod.spec, imageUser: imageUser, imageUserName: imageUserName)
  }
}
