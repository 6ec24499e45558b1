/// The roles and bindings that every cluster has, as Kubernetes has them.
///
/// `role NAME [label=value …]` begins a ClusterRole, `gather NAME label` one that gathers the rules of roles with a label,
/// `local NAMESPACE NAME` a Role. Rules follow: verbs | groups | resources [| names], or verbs | paths; `core` is the
/// group without a name, `read` is get, list and watch, `write` what changes and removes.
/// `bind NAME ROLE subjects…` and `bind NAMESPACE/NAME ROLE subjects…` give them to somebody.
/// https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings
enum DefaultRoleTable {
  static let text = cluster + users + parts + controllers + bindings

  private static let cluster = """
    role cluster-admin
      * | * | *
      * | *
    role system:discovery
      get | /api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/
    role system:public-info-viewer
      get | /healthz /livez /readyz /version /version/
    role system:monitoring
      get | /healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*
    role system:basic-user
      create | authorization.k8s.io | selfsubjectaccessreviews selfsubjectrulesreviews
      create | authentication.k8s.io | selfsubjectreviews
    role system:service-account-issuer-discovery
      get | /.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/

    """

  private static let users = """
    gather admin aggregate-to-admin
    gather edit aggregate-to-edit aggregate-to-admin
    gather view aggregate-to-view aggregate-to-edit
    role system:aggregate-to-admin aggregate-to-admin
      create | authorization.k8s.io | localsubjectaccessreviews
      create delete deletecollection read patch update | rbac.authorization.k8s.io | roles rolebindings
    role system:aggregate-to-edit aggregate-to-edit
      read | core | pods/attach pods/proxy pods/exec pods/portforward secrets services/proxy
      impersonate | core | serviceaccounts
      write | core | pods pods/attach pods/exec pods/portforward pods/proxy
      create | core | pods/eviction serviceaccounts/token
      write | core | configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale
      write | core | secrets serviceaccounts services services/proxy
      write | apps | daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale
      write | autoscaling | horizontalpodautoscalers
      write | batch | cronjobs jobs
      write | extensions | daemonsets deployments deployments/rollback deployments/scale ingresses networkpolicies replicasets replicasets/scale replicationcontrollers/scale
      write | policy | poddisruptionbudgets
      write | networking.k8s.io | ingresses networkpolicies
      write read | coordination.k8s.io | leases
    role system:aggregate-to-view aggregate-to-view
      read | core | bindings configmaps endpoints events limitranges namespaces namespaces/status persistentvolumeclaims persistentvolumeclaims/status pods pods/log pods/status
      read | core | replicationcontrollers replicationcontrollers/scale replicationcontrollers/status resourcequotas resourcequotas/status serviceaccounts services services/status
      read | discovery.k8s.io | endpointslices
      read | apps | controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status
      read | autoscaling | horizontalpodautoscalers horizontalpodautoscalers/status
      read | batch | cronjobs cronjobs/status jobs jobs/status
      read | extensions | daemonsets daemonsets/status deployments deployments/scale deployments/status ingresses ingresses/status networkpolicies replicasets replicasets/scale replicasets/status replicationcontrollers/scale
      read | policy | poddisruptionbudgets poddisruptionbudgets/status
      read | networking.k8s.io | ingresses ingresses/status networkpolicies

    """

  private static let parts = """
    role system:auth-delegator
      create | authentication.k8s.io | tokenreviews
      create | authorization.k8s.io | subjectaccessreviews
    role system:kubelet-api-admin
      get list watch proxy | core | nodes
      * | core | nodes/log nodes/metrics nodes/proxy nodes/spec nodes/stats nodes/configz nodes/healthz nodes/pods
    role system:node
      create | authentication.k8s.io | tokenreviews
      create | authorization.k8s.io | localsubjectaccessreviews subjectaccessreviews
      read | core | services
      create read | core | nodes
      patch update | core | nodes/status
      patch update delete | core | nodes
      create patch update | core events.k8s.io | events
      read | core | pods
      create delete | core | pods
      patch update | core | pods/status
      create | core | pods/eviction
      read | core | configmaps secrets
      get | core | persistentvolumeclaims persistentvolumes
      get | core | endpoints
      create read | certificates.k8s.io | certificatesigningrequests
      create delete get patch update | coordination.k8s.io | leases
      get | storage.k8s.io | volumeattachments
      create | core | serviceaccounts/token
      get patch update | core | persistentvolumeclaims/status
      read | storage.k8s.io | csidrivers
      create delete get patch update | storage.k8s.io | csinodes
      read | node.k8s.io | runtimeclasses
    role system:node-problem-detector
      get | core | nodes
      patch | core | nodes/status
      create patch update | core events.k8s.io | events
    role system:node-proxier
      list watch | core | services endpoints
      read | core | nodes
      create patch update | core events.k8s.io | events
      list watch | discovery.k8s.io | endpointslices
      list watch | networking.k8s.io | servicecidrs
    role martlet:node-proxier
      read | core | services endpoints nodes pods namespaces
      patch update | core | services/status
      create patch update | core events.k8s.io | events
      read | discovery.k8s.io | endpointslices
      read | networking.k8s.io | networkpolicies servicecidrs
    role system:node-bootstrapper
      create read | certificates.k8s.io | certificatesigningrequests
    role system:certificates.k8s.io:certificatesigningrequests:nodeclient
      create | certificates.k8s.io | certificatesigningrequests/nodeclient
    role system:certificates.k8s.io:certificatesigningrequests:selfnodeclient
      create | certificates.k8s.io | certificatesigningrequests/selfnodeclient
    role system:certificates.k8s.io:legacy-unknown-approver
      approve | certificates.k8s.io | signers | kubernetes.io/legacy-unknown
    role system:certificates.k8s.io:kubelet-serving-approver
      approve | certificates.k8s.io | signers | kubernetes.io/kubelet-serving
    role system:certificates.k8s.io:kube-apiserver-client-approver
      approve | certificates.k8s.io | signers | kubernetes.io/kube-apiserver-client
    role system:certificates.k8s.io:kube-apiserver-client-kubelet-approver
      approve | certificates.k8s.io | signers | kubernetes.io/kube-apiserver-client-kubelet
    role system:kube-dns
      list watch | core | endpoints services
    role system:persistent-volume-provisioner
      create delete read | core | persistentvolumes
      read update | core | persistentvolumeclaims
      read | storage.k8s.io | storageclasses
      create patch update watch | core | events
    role system:volume-scheduler
      read patch update | core | persistentvolumes
      read | storage.k8s.io | storageclasses
      read patch update | core | persistentvolumeclaims
    role system:kube-scheduler
      create patch update | core events.k8s.io | events
      create read update | coordination.k8s.io | leases
      get update | coordination.k8s.io | leases | kube-scheduler
      read | core | nodes namespaces
      delete read | core | pods
      create | core | bindings pods/binding
      patch update | core | pods/status
      read | core | replicationcontrollers services
      read | apps | replicasets statefulsets
      read | extensions | replicasets
      read | policy | poddisruptionbudgets
      read update | core | persistentvolumeclaims persistentvolumes
      create | authentication.k8s.io | tokenreviews
      create | authorization.k8s.io | subjectaccessreviews
      read | storage.k8s.io | csinodes csidrivers csistoragecapacities storageclasses volumeattachments
    role system:kube-controller-manager
      create patch update | core events.k8s.io | events
      create read update | coordination.k8s.io | leases
      create | core | secrets serviceaccounts serviceaccounts/token
      delete | core | secrets
      get update | core | configmaps namespaces secrets serviceaccounts
      create | authentication.k8s.io | tokenreviews
      create | authorization.k8s.io | subjectaccessreviews
      list watch | * | *

    """

  private static let controllers = """
    role system:controller:attachdetach-controller
      list watch | core | persistentvolumes persistentvolumeclaims pods nodes
      patch update | core | nodes/status
      create delete read | storage.k8s.io | volumeattachments
      patch update create | core events.k8s.io | events
      read | storage.k8s.io | csidrivers csinodes
    role system:controller:clusterrole-aggregation-controller
      escalate get list patch update watch | rbac.authorization.k8s.io | clusterroles
    role system:controller:cronjob-controller
      read update | batch | cronjobs
      create delete read patch update | batch | jobs
      update | batch | cronjobs/status cronjobs/finalizers
      list delete | core | pods
      create patch update | core events.k8s.io | events
    role system:controller:daemon-set-controller
      read | apps extensions | daemonsets
      update | apps extensions | daemonsets/status daemonsets/finalizers
      list watch | core | nodes
      create delete list patch watch | core | pods
      create | core | pods/binding
      create delete read patch update | apps | controllerrevisions
      create patch update | core events.k8s.io | events
    role system:controller:deployment-controller
      read update | apps extensions | deployments
      update | apps extensions | deployments/status deployments/finalizers
      create delete read patch update | apps extensions | replicasets
      read update | core | pods
      create patch update | core events.k8s.io | events
    role system:controller:disruption-controller
      read | apps extensions | deployments replicasets statefulsets
      read | core | replicationcontrollers
      read | policy | poddisruptionbudgets
      update | policy | poddisruptionbudgets/status
      patch update | core | pods/status
      get | * | */scale
      list watch | core | pods
      create patch update | core events.k8s.io | events
    role system:controller:endpoint-controller
      read | core | pods services
      create delete read update | core | endpoints
      create | core | endpoints/restricted
      create patch update | core events.k8s.io | events
    role system:controller:endpointslice-controller
      read | core | nodes pods services
      update | core | services/finalizers
      create delete read update | discovery.k8s.io | endpointslices
      create | discovery.k8s.io | endpointslices/restricted
      create patch update | core events.k8s.io | events
    role system:controller:expand-controller
      read patch update | core | persistentvolumes
      patch update | core | persistentvolumeclaims/status
      read | core | persistentvolumeclaims
      read | storage.k8s.io | storageclasses
      create patch update | core events.k8s.io | events
    role system:controller:generic-garbage-collector
      delete get list patch update watch | * | *
      create patch update | core events.k8s.io | events
    role system:controller:horizontal-pod-autoscaler
      read | autoscaling | horizontalpodautoscalers
      update | autoscaling | horizontalpodautoscalers/status
      get update | * | */scale
      list | core | pods
      get list | custom.metrics.k8s.io external.metrics.k8s.io | *
      list | metrics.k8s.io | pods
      create patch update | core events.k8s.io | events
    role system:controller:job-controller
      read patch update | batch | jobs
      patch update | batch | jobs/status
      update | batch | jobs/finalizers
      create delete list patch watch | core | pods
      create patch update | core events.k8s.io | events
    role system:controller:namespace-controller
      delete get list watch | core | namespaces
      update | core | namespaces/finalize namespaces/status
      delete deletecollection get list | * | *
    role system:controller:node-controller
      get list delete patch update watch | core | nodes
      patch update | core | nodes/status
      patch update | core | pods/status
      delete list watch | core | pods
      create patch update | core events.k8s.io | events
    role system:controller:persistent-volume-binder
      create delete get list patch update watch | core | persistentvolumes
      patch update | core | persistentvolumes/status persistentvolumeclaims/status
      read patch update | core | persistentvolumeclaims
      create delete get list watch | core | pods
      read | storage.k8s.io | storageclasses
      get list | core | nodes
      create patch update | core events.k8s.io | events
    role system:controller:pod-garbage-collector
      delete list watch | core | pods
      get list watch | core | nodes
      patch | core | pods/status
    role system:controller:pv-protection-controller
      get list update watch | core | persistentvolumes
      create patch update | core events.k8s.io | events
    role system:controller:pvc-protection-controller
      get list update watch | core | persistentvolumeclaims
      get list watch | core | pods
      create patch update | core events.k8s.io | events
    role system:controller:replicaset-controller
      read update | apps extensions | replicasets
      update | apps extensions | replicasets/status replicasets/finalizers
      create delete list patch watch | core | pods
      create patch update | core events.k8s.io | events
    role system:controller:replication-controller
      read update | core | replicationcontrollers
      update | core | replicationcontrollers/status replicationcontrollers/finalizers
      create delete list patch watch | core | pods
      create patch update | core events.k8s.io | events
    role system:controller:resourcequota-controller
      list watch | * | *
      update | core | resourcequotas/status
      create patch update | core events.k8s.io | events
    role system:controller:root-ca-cert-publisher
      create update | core | configmaps
      create patch update | core events.k8s.io | events
    role system:controller:service-account-controller
      create | core | serviceaccounts
      create patch update | core events.k8s.io | events
    role system:controller:service-controller
      read | core | services
      patch update | core | services/status
      list watch | core | nodes
      create patch update | core events.k8s.io | events
    role system:controller:statefulset-controller
      list watch | core | pods
      read | apps | statefulsets
      update | apps | statefulsets/status statefulsets/finalizers
      get create delete update patch | core | pods
      create delete read patch update | apps | controllerrevisions
      get create | core | persistentvolumeclaims
      create patch update | core events.k8s.io | events
    role system:controller:ttl-after-finished-controller
      delete get list watch | batch | jobs
      create patch update | core events.k8s.io | events
    role system:controller:ttl-controller
      list patch update watch | core | nodes
      create patch update | core events.k8s.io | events
    role system:controller:certificate-controller
      delete get list watch | certificates.k8s.io | certificatesigningrequests
      update | certificates.k8s.io | certificatesigningrequests/approval certificatesigningrequests/status
      approve sign | certificates.k8s.io | signers | kubernetes.io/kube-apiserver-client-kubelet
      sign | certificates.k8s.io | signers | kubernetes.io/kube-apiserver-client kubernetes.io/kubelet-serving kubernetes.io/legacy-unknown
      create | authorization.k8s.io | subjectaccessreviews
      create patch update | core events.k8s.io | events
    local kube-system extension-apiserver-authentication-reader
      read | core | configmaps | extension-apiserver-authentication
    local kube-system system::leader-locking-kube-controller-manager
      watch | core | configmaps
      get update | core | configmaps | kube-controller-manager
    local kube-system system::leader-locking-kube-scheduler
      watch | core | configmaps
      get update | core | configmaps | kube-scheduler
    local kube-system system:controller:bootstrap-signer
      read | core | secrets
    local kube-system system:controller:token-cleaner
      delete read | core | secrets
      create patch update | core events.k8s.io | events
    local kube-public system:controller:bootstrap-signer
      read | core | configmaps
      update | core | configmaps | cluster-info
      create patch update | core events.k8s.io | events

    """

  private static let bindings = """
    bind cluster-admin cluster-admin Group:system:masters
    bind system:monitoring system:monitoring Group:system:monitoring
    bind system:discovery system:discovery Group:system:authenticated
    bind system:basic-user system:basic-user Group:system:authenticated
    bind system:public-info-viewer system:public-info-viewer Group:system:authenticated Group:system:unauthenticated
    bind system:node-proxier system:node-proxier User:system:kube-proxy
    bind martlet:node-proxier martlet:node-proxier Group:system:kube-proxies
    bind system:kube-controller-manager system:kube-controller-manager User:system:kube-controller-manager
    bind system:kube-dns system:kube-dns ServiceAccount:kube-system/kube-dns
    bind system:kube-scheduler system:kube-scheduler User:system:kube-scheduler
    bind system:volume-scheduler system:volume-scheduler User:system:kube-scheduler
    bind system:node system:node
    bind system:service-account-issuer-discovery system:service-account-issuer-discovery Group:system:serviceaccounts
    bind martlet:node-bootstrap system:node-bootstrapper Group:system:bootstrappers
    bind martlet:node-autoapprove-bootstrap system:certificates.k8s.io:certificatesigningrequests:nodeclient Group:system:bootstrappers
    bind martlet:node-autoapprove-renewal system:certificates.k8s.io:certificatesigningrequests:selfnodeclient Group:system:nodes
    bind kube-system/system::extension-apiserver-authentication-reader extension-apiserver-authentication-reader User:system:kube-controller-manager User:system:kube-scheduler
    bind kube-system/system::leader-locking-kube-controller-manager system::leader-locking-kube-controller-manager User:system:kube-controller-manager ServiceAccount:kube-system/kube-controller-manager
    bind kube-system/system::leader-locking-kube-scheduler system::leader-locking-kube-scheduler User:system:kube-scheduler ServiceAccount:kube-system/kube-scheduler
    bind kube-system/system:controller:bootstrap-signer system:controller:bootstrap-signer ServiceAccount:kube-system/bootstrap-signer
    bind kube-system/system:controller:token-cleaner system:controller:token-cleaner ServiceAccount:kube-system/token-cleaner
    bind kube-public/system:controller:bootstrap-signer system:controller:bootstrap-signer ServiceAccount:kube-system/bootstrap-signer
    """
}
