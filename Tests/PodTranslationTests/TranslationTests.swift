import CRIModel
import JSON
import KubeModel
import PodTranslation
import SwiftProtobuf
import TestSupport
import Testing

func pod(_ spec: String, metadata: String = #"{"name":"web","uid":"u-1"}"#) throws -> Pod {
  var pod = try Pod(
    strict: JSONValue.parse(#"{"apiVersion":"v1","kind":"Pod","metadata":\#(metadata),"spec":\#(spec)}"#))
  pod.applyDefaults()
  return pod
}

func facts() -> NodeFacts {
  var facts = NodeFacts(nodeName: "node-a")
  facts.hostIPs = ["192.0.2.7", "2001:db8::7"]
  facts.hostDNS = DNSSettings(resolvConf: "nameserver 192.0.2.53\nsearch example.net\noptions timeout:1\n# x\n")
  facts.memoryCapacityBytes = 1 << 30
  facts.cpuCapacityMilli = 2000
  return facts
}

let objects = PodObjects(
  configMaps: [
    "settings": {
      var map = ConfigMap(); map.data = ["COLOR": "red", "nested": "x"]; return map
    }()
  ],
  secrets: [
    "keys": {
      var secret = Secret(); secret.data = ["token": Bytes([115, 51])]; secret.stringData = ["plain": "p"];
      return secret
    }()
  ],
  services: [
    ServiceLink(
      name: "my-db", clusterIP: "10.96.0.9",
      ports: [
        {
          var port = ServicePort(); port.name = "sql"; port.port = 5432; return port
        }()
      ])
  ])

/// Requests as sorted JSON text.
func text(_ message: some Message) throws -> String {
  var options = JSONEncodingOptions()
  options.preserveProtoFieldNames = true
  return sorted(try JSONValue.parse(message.jsonString(options: options))).encodedString(pretty: true)
}

private func sorted(_ value: JSONValue) -> JSONValue {
  switch value {
  case .object(let object):
    .object(JSONObject(sorted: Dictionary(uniqueKeysWithValues: object.members.map { ($0.key, sorted($0.value)) })))
  case .array(let items): .array(items.map(sorted))
  default: value
  }
}

private let cases: [(name: String, spec: String)] = [
  ("plain", #"{"containers":[{"name":"web","image":"web:1"}]}"#),
  (
    "rich",
    """
    {"hostname":"www","subdomain":"team","shareProcessNamespace":true,"terminationGracePeriodSeconds":5,
     "dnsConfig":{"nameservers":["192.0.2.54"],"searches":["a.test"],"options":[{"name":"timeout","value":"3"},{"name":"rotate"}]},
     "securityContext":{"runAsUser":1000,"runAsGroup":1001,"fsGroup":2000,"supplementalGroups":[3000],
       "sysctls":[{"name":"net.ipv4.tcp_syncookies","value":"0"}]},
     "initContainers":[{"name":"log","image":"log:1","restartPolicy":"Always","ports":[{"containerPort":5140,"protocol":"UDP"}]}],
     "containers":[{"name":"web","image":"web:1","command":["/web"],"args":["--color=$(COLOR)","$$(COLOR)","$(NONE)"],
       "workingDir":"/srv","stdin":true,"tty":true,
       "ports":[{"name":"http","containerPort":80,"hostPort":8080,"hostIP":"127.0.0.1"}],
       "envFrom":[{"prefix":"S_","secretRef":{"name":"keys"}},{"configMapRef":{"name":"absent","optional":true}}],
       "env":[{"name":"COLOR","valueFrom":{"configMapKeyRef":{"name":"settings","key":"COLOR"}}},
              {"name":"TOKEN","valueFrom":{"secretKeyRef":{"name":"keys","key":"token"}}},
              {"name":"POD","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}},
              {"name":"TIER","valueFrom":{"fieldRef":{"fieldPath":"metadata.labels['tier']"}}},
              {"name":"IPS","valueFrom":{"fieldRef":{"fieldPath":"status.podIPs"}}},
              {"name":"HOST","valueFrom":{"fieldRef":{"fieldPath":"status.hostIP"}}},
              {"name":"CPUS","valueFrom":{"resourceFieldRef":{"resource":"limits.cpu"}}},
              {"name":"MEM","valueFrom":{"resourceFieldRef":{"resource":"requests.memory","divisor":"1Mi"}}},
              {"name":"GREETING","value":"hello $(POD), $$(POD) $(NOBODY) $"}],
       "resources":{"limits":{"cpu":"1500m","memory":"128Mi","hugepages-2Mi":"4Mi"},"requests":{"cpu":"250m","memory":"64Mi"}},
       "securityContext":{"runAsUser":1002,"readOnlyRootFilesystem":true,"allowPrivilegeEscalation":false,
         "capabilities":{"drop":["ALL"],"add":["CAP_NET_BIND_SERVICE"]},"seccompProfile":{"type":"Unconfined"}},
       "lifecycle":{"stopSignal":"SIGRTMIN+3"},
       "volumeMounts":[{"name":"data","mountPath":"/data"},{"name":"conf","mountPath":"/etc/app","subPathExpr":"$(POD)/x"},
         {"name":"data","mountPath":"/ro","readOnly":true,"recursiveReadOnly":"Enabled","mountPropagation":"HostToContainer"}]}],
     "volumes":[{"name":"data","emptyDir":{}},{"name":"conf","configMap":{"name":"settings"}}]}
    """
  ),
  (
    "host",
    """
    {"hostNetwork":true,"hostPID":true,"hostIPC":true,"hostAliases":[{"ip":"192.0.2.1","hostnames":["a.test","b.test"]}],
     "containers":[{"name":"web","image":"web:1","ports":[{"containerPort":80}],"securityContext":{"privileged":true}}]}
    """
  ),
]

@Suite struct TranslationTests {
  @Test(arguments: cases.map(\.name)) func requestsAreGolden(_ name: String) throws {
    let spec = try #require(cases.first { $0.name == name }?.spec)
    let metadata = #"{"name":"web","uid":"u-1","labels":{"tier":"front"},"annotations":{"note":"n"}}"#
    let translation = PodTranslation(pod: try pod(spec, metadata: metadata), facts: facts(), manifest: "app.yaml")
    var out = "sandbox\n" + (try text(translation.sandbox(attempt: 2)))
    for container in translation.pod.spec.initContainers + translation.pod.spec.containers {
      let one = try ContainerTranslation(container, of: translation, objects: objects, podIPs: ["10.1.0.2", "fd00::2"])
      let inner = try one.innerPaths()
      let sources = zip(container.volumeMounts, inner).map { "/vol/\($0.name)\($1.isEmpty ? "" : "/" + $1)" }
      out += "container \(container.name)\n"
      out += try text(
        one.config(
          attempt: 1, imageReference: "sha256:aa", mountSources: sources, hostsFile: "/files/hosts",
          terminationLog: "/files/log"))
    }
    out +=
      "hosts\n" + (translation.hostsFile(podIPs: ["10.1.0.2", "fd00::2"], hostText: "127.0.0.1 localhost") ?? "none\n")
    try Golden.check(out, named: "\(name).txt")
  }

  @Test func aClusterNameServerIsUsedByThePodsThatAskForIt() throws {
    var node = facts()
    node.clusterDNS = ["10.96.0.53"]
    func dns(_ fields: String) throws -> CRIDNSConfig {
      let pod = try pod(#"{\#(fields)"containers":[{"name":"a","image":"a"}]}"#)
      return PodTranslation(pod: pod, facts: node).sandbox(attempt: 0).dnsConfig
    }
    #expect(try dns("").servers == ["10.96.0.53"])
    #expect(try dns("").searches == ["default.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.net"])
    #expect(try dns("").options == ["ndots:5"])
    #expect(try dns(#""hostNetwork":true,"#).servers == ["192.0.2.53"])
    #expect(try dns(#""hostNetwork":true,"dnsPolicy":"ClusterFirstWithHostNet","#).servers == ["10.96.0.53"])
    #expect(try dns(#""dnsPolicy":"Default","#).servers == ["192.0.2.53"])
    #expect(try dns(#""dnsPolicy":"None","dnsConfig":{"nameservers":["192.0.2.9"]},"#).servers == ["192.0.2.9"])
  }

  @Test(arguments: [
    (#"{"name":"X","valueFrom":{"configMapKeyRef":{"name":"none","key":"k"}}}"#, #"configmap "none" not found"#),
    (
      #"{"name":"X","valueFrom":{"configMapKeyRef":{"name":"settings","key":"k"}}}"#,
      "couldn't find key k in ConfigMap default/settings"
    ),
    (
      #"{"name":"X","valueFrom":{"secretKeyRef":{"name":"keys","key":"k"}}}"#,
      "couldn't find key k in Secret default/keys"
    ),
  ])
  func aMissingKeyStopsTheContainer(_ variable: String, _ message: String) throws {
    let pod = try pod(#"{"containers":[{"name":"a","image":"a","env":[\#(variable)]}]}"#)
    let error = #expect(throws: TranslationError.self) {
      try ContainerTranslation(
        pod.spec.containers[0], of: PodTranslation(pod: pod, facts: facts()), objects: objects, podIPs: [])
    }
    #expect(error?.message == message)
    #expect(error?.reason == "CreateContainerConfigError")
  }

  @Test func anOptionalMissingKeyLeavesTheVariableOut() throws {
    let spec =
      #"{"containers":[{"name":"a","image":"a","env":[{"name":"X","valueFrom":{"secretKeyRef":{"name":"n","key":"k","optional":true}}}]}],"enableServiceLinks":false}"#
    let pod = try pod(spec)
    let one = try ContainerTranslation(
      pod.spec.containers[0], of: PodTranslation(pod: pod, facts: facts()), objects: objects, podIPs: [])
    let config = one.config(attempt: 0, imageReference: "", mountSources: [], hostsFile: nil, terminationLog: nil)
    #expect(config.envs.isEmpty)
  }

  @Test(
    arguments: [
      (#"{"containers":[{"name":"a","resources":{"limits":{"cpu":"1","memory":"1Gi"}}}]}"#, QOSClass.guaranteed, -997),
      (#"{"containers":[{"name":"a"}]}"#, .bestEffort, 1000),
      (#"{"containers":[{"name":"a","resources":{"requests":{"memory":"256Mi"}}}]}"#, .burstable, 750),
      (#"{"containers":[{"name":"a","resources":{"limits":{"cpu":"1"}}}]}"#, .burstable, 999),
    ] as [(String, QOSClass, Int64)])
  func ranksPodsAsKubernetesDoes(_ spec: String, _ qos: QOSClass, _ score: Int64) throws {
    let pod = try pod(spec)
    #expect(QOSClass(pod.spec) == qos)
    let one = try ContainerTranslation(
      pod.spec.containers[0], of: PodTranslation(pod: pod, facts: facts()), objects: objects, podIPs: [])
    let config = one.config(attempt: 0, imageReference: "", mountSources: [], hostsFile: nil, terminationLog: nil)
    #expect(config.linux.resources.oomScoreAdj == score)
  }

  @Test func rootIsFoundOutWhereItIsForbidden() throws {
    let pod = try pod(
      #"{"securityContext":{"runAsNonRoot":true},"containers":[{"name":"a","image":"a"},{"name":"b","image":"b","securityContext":{"runAsUser":5}}]}"#
    )
    let translation = PodTranslation(pod: pod, facts: facts())
    let (first, second) = (pod.spec.containers[0], pod.spec.containers[1])
    #expect(throws: TranslationError.self) { try translation.checkNonRoot(first, imageUser: 0, imageUserName: "") }
    #expect(throws: TranslationError.self) { try translation.checkNonRoot(first, imageUser: nil, imageUserName: "web") }
    #expect(throws: TranslationError.self) { try translation.checkNonRoot(first, imageUser: nil, imageUserName: "") }
    try translation.checkNonRoot(first, imageUser: 7, imageUserName: "")
    try translation.checkNonRoot(second, imageUser: 0, imageUserName: "")
  }
}

@Suite struct VolumePlanTests {
  private func plans(_ volume: String) throws -> [VolumePlan] {
    let spec =
      #"{"containers":[{"name":"a","image":"a","resources":{"limits":{"memory":"64Mi"}}}],"volumes":[\#(volume)]}"#
    let metadata = #"{"name":"web","uid":"u","labels":{"b":"2","a":"1\"x"}}"#
    return try VolumePlan.volumes(of: pod(spec, metadata: metadata), objects: objects, facts: facts())
  }

  private func files(_ volume: String) throws -> [String] {
    guard case .projection(let files) = try plans(volume).first?.source else { return [] }
    return files.map { "\($0.path) \(String($0.mode, radix: 8)) \(String(decoding: $0.bytes, as: UTF8.self))" }
  }

  @Test func secretsAndConfigMapsBecomeFiles() throws {
    #expect(
      try files(#"{"name":"v","secret":{"secretName":"keys","defaultMode":256}}"#) == ["plain 400 p", "token 400 s3"])
    #expect(
      try files(#"{"name":"v","configMap":{"name":"settings","items":[{"key":"COLOR","path":"a/b","mode":384}]}}"#)
        == ["a/b 600 red"])
    #expect(try files(#"{"name":"v","secret":{"secretName":"none","optional":true}}"#) == [])
  }

  @Test func aProjectionPutsSeveralSourcesTogether() throws {
    let volume = """
      {"name":"v","projected":{"sources":[{"configMap":{"name":"settings","items":[{"key":"nested","path":"x"}]}},
       {"secret":{"name":"keys","items":[{"key":"token","path":"t"}]}},
       {"downwardAPI":{"items":[{"path":"labels","fieldRef":{"fieldPath":"metadata.labels"}},
         {"path":"mem","resourceFieldRef":{"containerName":"a","resource":"limits.memory","divisor":"1Mi"}}]}}]}}
      """
    #expect(try files(volume) == ["x 644 x", "t 644 s3", "labels 644 a=\"1\\\"x\"\nb=\"2\"", "mem 644 64"])
  }

  @Test(arguments: [
    (
      #"{"name":"v","secret":{"secretName":"none"}}"#,
      #"MountVolume.SetUp failed for volume "v" : secret "none" not found"#
    ),
    (
      #"{"name":"v","configMap":{"name":"settings","items":[{"key":"k","path":"p"}]}}"#,
      #"MountVolume.SetUp failed for volume "v" : configmap "settings" references non-existent config key: k"#
    ),
  ])
  func waitsForWhatIsNotThere(_ volume: String, _ message: String) throws {
    let error = #expect(throws: TranslationError.self) { try plans(volume) }
    #expect(error?.message == message)
  }

  @Test func emptyDirsKeepTheirMediumAndLimit() throws {
    #expect(
      try plans(#"{"name":"v","emptyDir":{"medium":"Memory","sizeLimit":"1Mi"}},{"name":"w","emptyDir":{}}"#).map(
        \.source)
        == [
          .emptyDirectory(inMemory: true, sizeLimitBytes: 1 << 20),
          .emptyDirectory(inMemory: false, sizeLimitBytes: nil),
        ])
  }

  @Test func whatConfinesAContainerIsPassedOn() throws {
    let profile = #""seccompProfile":{"type":"Localhost","localhostProfile":"a/b.json"}"#
    let own = #""appArmorProfile":{"type":"Localhost","localhostProfile":"mine"}"#
    let spec = """
      {"securityContext":{\(profile),"seLinuxOptions":{"level":"s0:c1"}},
       "containers":[{"name":"a","image":"i","securityContext":{\(own)}},{"name":"b","image":"i"}]}
      """
    let translation = PodTranslation(pod: try pod(spec), facts: facts())
    let contexts = try translation.pod.spec.containers.map { container in
      try ContainerTranslation(container, of: translation, objects: objects, podIPs: []).config(
        attempt: 0, imageReference: "i", mountSources: [], hostsFile: nil, terminationLog: nil
      ).linux.securityContext
    }
    #expect(contexts.allSatisfy { $0.seccomp.profileType == .localhost })
    #expect(contexts.allSatisfy { $0.seccomp.localhostRef == "/var/lib/martlet/seccomp/a/b.json" })
    #expect(contexts.allSatisfy { $0.selinuxOptions.level == "s0:c1" })
    #expect(contexts[0].apparmor.profileType == .localhost && contexts[0].apparmor.localhostRef == "mine")
    #expect(!contexts[1].hasApparmor)
  }
}
