/// What the tests give to kubectl.
enum KubeManifests {
  /// A web server with a probe, its content and its Service; `greeting` is what its log begins with.
  static func app(replicas: Int = 2, greeting: String = "started") -> String {
    """
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: app, labels: {app: app}}
    spec:
      replicas: \(replicas)
      selector: {matchLabels: {app: app}}
      template:
        metadata: {labels: {app: app}}
        spec:
          terminationGracePeriodSeconds: 0
          containers:
          - name: c
            image: localhost/busybox:1
            imagePullPolicy: IfNotPresent
            command: [sh, -c, "echo \(greeting); exec httpd -f -p 8080 -h /etc"]
            ports: [{containerPort: 8080, name: http}]
            env: [{name: FOO, valueFrom: {configMapKeyRef: {name: cfg, key: foo}}}]
            readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
    ---
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: cfg}
    data: {foo: bar}
    ---
    apiVersion: v1
    kind: Service
    metadata: {name: app}
    spec: {selector: {app: app}, ports: [{port: 80, targetPort: http}]}
    """
  }

  /// A pod of one container `main` that runs `script`; `more` is added to the pod's spec, `container` to the container.
  static func pod(_ name: String, _ script: String, more: String = "", container: String = "") -> String {
    """
    apiVersion: v1
    kind: Pod
    metadata: {name: \(name), labels: {app: \(name)}}
    spec:
      terminationGracePeriodSeconds: 0
      \(more)
      containers:
      - name: main
        image: localhost/busybox:1
        imagePullPolicy: Never
        command: [sh, -c, '\(script)']
        \(container)
    """
  }
}
