import JSON
import KubeModel
import PodTranslation
import Testing

private func problems(_ spec: String, metadata: String = #"{"name":"web"}"#) throws -> [String] {
  let pod = try Pod(
    strict: JSONValue.parse(#"{"apiVersion":"v1","kind":"Pod","metadata":\#(metadata),"spec":\#(spec)}"#))
  return PodValidation.problems(in: pod).map(\.description)
}

private func containers(_ fields: String) -> String { #"{"containers":[{"name":"a","image":"a",\#(fields)}]}"# }

@Suite struct ValidationTests {
  @Test(arguments: [
    (
      #"{"containers":[{"name":"a","image":"a"}],"volumes":[{"name":"v","nfs":{"server":"s","path":"/"}}]}"#,
      ["spec.volumes[0].nfs: not supported"]
    ),
    (
      containers(#""volumeDevices":[{"devicePath":"/dev/x","name":"v"}]"#),
      ["spec.containers[0].volumeDevices: not supported"]
    ),
    (
      containers(#""resources":{"limits":{"nvidia.com/gpu":"1"}}"#),
      ["spec.containers[0].resources.limits[nvidia.com/gpu]: not supported"]
    ),
    (
      #"{"containers":[{"name":"a","image":"a"}],"volumes":[{"name":"v","persistentVolumeClaim":{"claimName":"c"}}]}"#,
      ["spec.volumes[0].persistentVolumeClaim: not supported"]
    ),
    (
      #"{"containers":[{"name":"a","image":"a"}],"ephemeralContainers":[{"name":"e"}]}"#,
      ["spec.ephemeralContainers: not supported"]
    ),
    (
      #"{"containers":[{"name":"a","image":"a"}],"hostUsers":false}"#,
      ["spec.hostUsers: not supported: user namespaces"]
    ),
    (#"{"containers":[{"name":"a","image":"a"}],"nodeSelector":{"a":"b"}}"#, ["spec.nodeSelector: not supported"]),
    (
      containers(#""restartPolicy":"Never","restartPolicyRules":[{"action":"RestartAllContainers"}]"#),
      [#"spec.containers[0].restartPolicyRules[0].action: not supported: "RestartAllContainers", only Restart"#]
    ),
    (
      #"{"containers":[{"name":"a","image":"a"}],"volumes":[{"name":"v","projected":{"sources":[{"clusterTrustBundle":{"name":"b","path":"p"}}]}}]}"#,
      ["spec.volumes[0].projected.sources[0].clusterTrustBundle: not supported"]
    ),
    (#"{"containers":[{"name":"a","image":"a"}],"runtimeClassName":"x"}"#, ["spec.runtimeClassName: not supported"]),
    (
      containers(#""securityContext":{"procMount":"Unmasked"}"#),
      ["spec.containers[0].securityContext.procMount: not supported: Unmasked needs a user namespace"]
    ),
    (
      containers(#""lifecycle":{"preStop":{"tcpSocket":{"port":1}}}"#),
      ["spec.containers[0].lifecycle.preStop.tcpSocket: not supported"]
    ),
    (
      containers(#""env":[{"name":"A","valueFrom":{"fieldRef":{"fieldPath":"spec.hostname"}}}]"#),
      ["spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: not supported: \"spec.hostname\""]
    ),
  ])
  func whatIsNotDoneIsRefusedByName(_ spec: String, _ expected: [String]) throws {
    #expect(try problems(spec) == expected)
  }

  @Test(arguments: [
    #""ports":[{"containerPort":1}],"readinessProbe":{"httpGet":{"port":1,"scheme":"HTTPS"}}"#,
    #""lifecycle":{"preStop":{"httpGet":{"port":1,"scheme":"HTTPS"}}}"#,
  ])
  func probesAndHooksMayGoOverTLS(_ fields: String) throws { #expect(try problems(containers(fields)) == []) }

  @Test(arguments: [
    (#"{"containers":[]}"#, "spec.containers: required"),
    (#"{"containers":[{"name":"a"}]}"#, "spec.containers[0].image: required"),
    (#"{"containers":[{"name":"../a","image":"a"}]}"#, #"spec.containers[0].name: "../a" is not a DNS label"#),
    (
      #"{"initContainers":[{"name":"a","image":"a"}],"containers":[{"name":"a","image":"a"}]}"#,
      #"spec.containers[0].name: "a" stands twice"#
    ),
    (
      containers(#""volumeMounts":[{"name":"v","mountPath":"/x"}]"#),
      #"spec.containers[0].volumeMounts[0].name: the pod has no volume "v""#
    ),
    (
      containers(#""livenessProbe":{}"#),
      "spec.containers[0].livenessProbe: needs exactly one of exec, grpc, httpGet, tcpSocket"
    ),
    (
      containers(#""livenessProbe":{"httpGet":{"port":"http"}}"#),
      #"spec.containers[0].livenessProbe.httpGet.port: no port "http" in this container"#
    ),
    (
      containers(#""resources":{"limits":{"cpu":"1"},"requests":{"cpu":"2"}}"#),
      "spec.containers[0].resources.requests[cpu]: is more than the limit"
    ),
    (
      #"{"containers":[{"name":"a","image":"a"}],"volumes":[{"name":"v"}]}"#,
      "spec.volumes[0]: no source; for scratch space: emptyDir: {}"
    ),
    (
      #"{"containers":[{"name":"a","image":"a"}],"volumes":[{"name":"v","emptyDir":{},"secret":{"secretName":"s"}}]}"#,
      "spec.volumes[0]: more than one source: emptyDir, secret"
    ),
    (
      #"{"containers":[{"name":"a","image":"a"}],"volumes":[{"name":"v","hostPath":{"path":"/a/../b"}}]}"#,
      "spec.volumes[0].hostPath.path: must be absolute, without .."
    ),
    (
      #"{"containers":[{"name":"a","image":"a"}],"volumes":[{"name":"v","secret":{"secretName":"s","items":[{"key":"k","path":"../k"}]}}]}"#,
      "spec.volumes[0].secret.items[0].path: must be relative, without .."
    ),
    (
      #"{"containers":[{"name":"a","image":"a"}],"securityContext":{"sysctls":[{"name":"kernel.x=1","value":"1"}]}}"#,
      "spec.securityContext.sysctls[0].name: not a name"
    ),
    (
      #"{"initContainers":[{"name":"i","image":"a","readinessProbe":{"tcpSocket":{"port":1}}}],"containers":[{"name":"a","image":"a"}]}"#,
      "spec.initContainers[0].readinessProbe: an init container that ends has no probes"
    ),
    (
      containers(#""securityContext":{"seccompProfile":{"type":"Localhost","localhostProfile":"../x"}}"#),
      "spec.containers[0].securityContext.seccompProfile.localhostProfile: must be a relative path, without .."
    ),
    (
      containers(#""ports":[{"containerPort":70000}]"#), "spec.containers[0].ports[0].containerPort: must be 1 to 65535"
    ),
  ])
  func whatMakesNoSenseIsNamed(_ spec: String, _ problem: String) throws {
    #expect(try problems(spec) == [problem])
  }

  @Test(arguments: [
    (#"{"name":"../../etc"}"#, #"metadata.name: "../../etc" is not a lower case DNS name"#),
    (#"{"name":"a","namespace":"a/b"}"#, #"metadata.namespace: "a/b" is not a lower case DNS label"#),
    (#"{"name":"a","uid":"../x"}"#, #"metadata.uid: "../x" cannot be a file's name"#),
    (#"{}"#, "metadata.name: required"),
    (#"{"name":"a","finalizers":["x"]}"#, "metadata.finalizers: not supported"),
  ])
  func namesCannotLeaveTheirDirectories(_ metadata: String, _ problem: String) throws {
    #expect(try problems(#"{"containers":[{"name":"a","image":"a"}]}"#, metadata: metadata) == [problem])
  }

  @Test func aPodThatUsesEverythingSupportedPasses() throws {
    let spec = """
      {"initContainers":[{"name":"i","image":"i"},{"name":"s","image":"s","restartPolicy":"Always","startupProbe":{"exec":{"command":["x"]}}}],
       "containers":[{"name":"a","image":"a","imagePullPolicy":"Never","ports":[{"name":"h","containerPort":80,"hostPort":80,"hostIP":"127.0.0.1"}],
        "livenessProbe":{"httpGet":{"port":"h","path":"/","httpHeaders":[{"name":"A","value":"b"}]},"terminationGracePeriodSeconds":1},
        "readinessProbe":{"tcpSocket":{"port":80},"successThreshold":2},"lifecycle":{"preStop":{"sleep":{"seconds":1}},"stopSignal":"SIGINT"},
        "volumeMounts":[{"name":"e","mountPath":"/e","subPath":"a/b"}],"terminationMessagePolicy":"FallbackToLogsOnError",
        "env":[{"name":"A","value":"b"}],"envFrom":[{"configMapRef":{"name":"c"}}]}],
       "volumes":[{"name":"e","emptyDir":{"sizeLimit":"1Mi"}},{"name":"h","hostPath":{"path":"/x","type":"DirectoryOrCreate"}},
        {"name":"p","projected":{"sources":[{"secret":{"name":"s"}},{"downwardAPI":{"items":[{"path":"n","fieldRef":{"fieldPath":"metadata.labels"}}]}}]}}],
       "tolerations":[{"operator":"Exists"}],"priority":1,"activeDeadlineSeconds":5,"os":{"name":"linux"},"hostAliases":[{"ip":"::1","hostnames":["x.y"]}]}
      """
    let metadata = #"{"name":"a","labels":{"a.b/c":"d"},"annotations":{"x":"y"},"creationTimestamp":null}"#
    #expect(try problems(spec, metadata: metadata) == [])
  }
}
